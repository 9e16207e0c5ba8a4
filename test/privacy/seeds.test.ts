// Seeds in real sessions: which party gets which, that each is asked for once and serves once, that
// a key's roots come from the seed that D keeps, and that fresh ones differ everywhere. Whoever
// holds another party's seed holds its masks: a text would come out right all the same.

import { beforeAll, describe, expect, test } from "vitest";
import { loadRingKernels } from "../../src/kernel/load-node.ts";
import type { RingKernels } from "../../src/kernel/ring-kernels.ts";
import { decodeBundle, toHex } from "../../src/party/messages.ts";
import { planGeneration } from "../../src/party/plan.ts";
import { freshSeeds, insecureSeeds, type SeedSource } from "../../src/party/seeds.ts";
import { Prg, SEED_BYTES } from "../../src/ring/prg.ts";
import { decodeItems } from "../../src/run/items.ts";
import { FrameReader } from "../../src/wire/frame.ts";
import { memoryPair } from "../../src/wire/memory.ts";
import type { Transport } from "../../src/wire/transport.ts";
import { mergedModel } from "../merged-model.ts";
import { createWorld, type Link, type WorldOptions } from "../parties.ts";

const asked = { promptPositions: 2, maxTokens: 4, chunk: 1, anchor: 0 };
const model = mergedModel({ seed: 10, maxTokens: 4, chunk: 1, innerSize: 8, bucket: 2 });
const settings = { prompt: "pub", ignoreEnd: true };

/** A message's payload, and the link and the direction that it took. */
interface Seen {
  readonly link: Link;
  readonly from: "opener" | "other";
  readonly kind: string;
  readonly payload: Uint8Array;
}

/** Memory connections of which every message is copied. */
function listening(seen: Seen[]): NonNullable<WorldOptions["connect"]> {
  return (link) => {
    const tapped = (end: Transport, from: Seen["from"]): Transport => {
      const reader = new FrameReader({ maxMessageBytes: 2 ** 28 });
      return {
        send: (bytes) => {
          const message = reader.push(bytes.slice());
          if (message) seen.push({ link, from, ...message, payload: message.payload.slice() });
          return end.send(bytes);
        },
        onFrame: (handler) => end.onFrame(handler),
        onClose: (handler) => end.onClose(handler),
        close: () => end.close(),
      };
    };
    const [near, far] = memoryPair();
    return [tapped(near, "opener"), tapped(far, "other")];
  };
}

/** Seeds of the bundles that went over a link, in their order, in hexadecimal. */
function seedsOn(seen: readonly Seen[], link: Link): string[] {
  const bundles = seen.filter((one) => one.link === link && one.kind === "bundle");
  return bundles.map(({ payload }) => {
    const number = new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
    return toHex(decodeBundle(payload, number).seed);
  });
}

/** Whether a seed stands in a message, as bytes or as the hexadecimal of a control message. */
function holds(payload: Uint8Array, seed: string): boolean {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.length);
  return bytes.includes(Buffer.from(seed, "hex")) || bytes.includes(Buffer.from(seed));
}

describe("seeds of sessions", () => {
  let kernels: RingKernels;
  const seen: Seen[] = [];
  /** What D asked for, by label, in order. */
  const labels: string[] = [];
  const byLabel = new Map<string, string>();
  let bundleCount: number;
  let maskSeed: string;

  beforeAll(async () => {
    kernels = await loadRingKernels();
    const { bundles } = await planGeneration(model.config, asked);
    bundleCount = bundles.length;
    const source = insecureSeeds(7);
    const seeds: SeedSource = async (label) => {
      const seed = await source(label);
      labels.push(label);
      byLabel.set(label, toHex(seed));
      return seed;
    };
    const ofServer: SeedSource = async (label) => {
      const seed = await source(`server ${label}`);
      maskSeed = toHex(seed);
      return seed;
    };
    const connect = listening(seen);
    const parts = { dealer: { seeds }, server: { seeds: ofServer } };
    const world = await createWorld({ model, kernels, connect, ...parts });
    await world.generate(settings);
    await world.generate(settings);
  });

  const ofParty = (party: string) =>
    labels.filter((label) => label.endsWith(party)).map((label) => byLabel.get(label)!);

  test("D asks for three a bundle, each once, and they all differ", () => {
    expect(bundleCount).toBeGreaterThan(1);
    expect(labels).toHaveLength(2 * 3 * bundleCount);
    expect(new Set(labels).size).toBe(labels.length);
    expect(new Set(byLabel.values()).size).toBe(labels.length);
  });

  test("C and S get their own of every bundle, and nobody another's", () => {
    expect(seedsOn(seen, "client-dealer")).toEqual(ofParty("client"));
    expect(seedsOn(seen, "server-dealer")).toEqual(ofParty("server"));
    const linkOf: Record<string, Link | undefined> = {
      client: "client-dealer",
      server: "server-dealer",
      keys: undefined,
    };
    for (const [party, own] of Object.entries(linkOf)) {
      const others = seen.filter(({ link }) => link !== own);
      for (const seed of ofParty(party)) {
        expect(others.filter(({ payload }) => holds(payload, seed)).length, party).toBe(0);
      }
    }
  });

  test("the seed of D_W goes from S to C, and D never sees it", () => {
    const holders = seen.filter(({ payload }) => holds(payload, maskSeed));
    expect(holders.map(({ link, from }) => [link, from])).toEqual([
      ["client-server", "other"],
      ["client-server", "other"],
    ]);
  });

  test("what D gets of the weights has a mask of its own in every tensor", async () => {
    const { tensors } = await planGeneration(model.config, asked);
    // The first model message on the other link is the tokenizer.
    const parts = seen.filter(({ link, kind }) => link === "server-dealer" && kind === "model");
    expect(parts).toHaveLength(tensors.length); // all of them small, and sent once
    const words = parts.map(({ payload }) => new BigInt64Array(payload.buffer));
    // Weights stay far below; so would differences of two tensors under one mask.
    const isSmall = (word: bigint) => BigInt.asIntN(64, word + 2n ** 40n) >> 41n === 0n;
    const small = (a: BigInt64Array, b?: BigInt64Array) =>
      a.filter((word, i) => isSmall(word - (b ? (b[i] ?? word + 2n ** 50n) : 0n))).length;
    words.forEach((own, i) => {
      expect(small(own), tensors[i]!.key).toBe(0);
      for (const other of words.slice(0, i)) expect(small(own, other), tensors[i]!.key).toBe(0);
    });
    expect(small(BigInt64Array.of(5n, -7n, 2n ** 50n))).toBe(2);
  });

  test("a key's roots are drawn from the seed that D keeps", async () => {
    const { bundles } = await planGeneration(model.config, asked);
    const keySeeds = ofParty("keys");
    const parts = (["client-dealer", "server-dealer"] as const).map((link) =>
      seen.filter((one) => one.link === link && one.kind === "bundle"),
    );
    let compared = 0;
    for (const [bundle, segments] of bundles.entries()) {
      const prg = new Prg(kernels, Buffer.from(keySeeds[bundle]!, "hex"));
      for (const { id: segment, gates } of segments) {
        const gate = gates.find(({ kind }) => kind === "spline")?.id;
        if (gate === undefined) continue;
        const roots = prg.bytes({ segment, gate }, "keys", SEED_BYTES);
        for (const [party, of] of parts.entries()) {
          const items = decodeItems(decodeBundle(of[bundle]!.payload, bundle).items);
          const item = items.find((one) => one.segment === segment && one.gate === gate)!;
          expect(item.bytes.slice(0, 16)).toEqual(roots.slice(16 * party, 16 * party + 16));
          compared++;
        }
      }
    }
    expect(compared).toBeGreaterThan(2);
  });

  test("fresh ones differ from bundle to bundle, party to party, session to session", async () => {
    const fresh: Seen[] = [];
    const maskSeeds = new Set<string>();
    for (let start = 0; start < 2; start++) {
      const parts = { dealer: { seeds: freshSeeds }, server: { seeds: freshSeeds } };
      const world = await createWorld({ model, kernels, connect: listening(fresh), ...parts });
      await world.generate(settings);
      await world.generate(settings);
      maskSeeds.add(world.server.modelDigest);
    }
    // The digest is of B, and so another for each D_W.
    expect(maskSeeds.size).toBe(2);
    const seeds = [...seedsOn(fresh, "client-dealer"), ...seedsOn(fresh, "server-dealer")];
    expect(seeds).toHaveLength(2 * 2 * 2 * bundleCount);
    expect(new Set(seeds).size).toBe(seeds.length);
  });
});
