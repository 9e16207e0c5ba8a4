// The fault run. One generation of two tokens on a virtual clock; a fault at frame 0, 1, 2, ... of
// each direction of each link, until a run comes in which it does not happen. Every run must end in
// the right text or in a named error, every party must settle, and no correlation is taken twice.

import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { MergenError } from "../src/errors.ts";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import type { RunOptions } from "../src/party/client-run.ts";
import { fileStore } from "../src/party/file-store.ts";
import type { Generation } from "../src/party/report.ts";
import { type BundleStore, memoryStore } from "../src/party/store.ts";
import { ItemStore } from "../src/run/items.ts";
import {
  allFaults,
  type FaultPlan,
  faultyPair,
  randomFaultPlan,
  seededRandom,
} from "../src/wire/faults.ts";
import { memoryPair } from "../src/wire/memory.ts";
import { VirtualClock } from "../src/wire/virtual-clock.ts";
import { mergedModel } from "./merged-model.ts";
import { allLinks, createWorld, type Link } from "./parties.ts";

const model = mergedModel({ seed: 4, maxTokens: 2, chunk: 1, innerSize: 8, bucket: 2 });
const timeoutMs = 10_000;
/**
 * No run may take longer, in virtual time: a few waits for a peer, one after the other, and the
 * delay itself, which the faulty connection waits for when it is closed.
 */
const longestMs = (plan: FaultPlan | undefined) => 6 * timeoutMs + (plan?.delayMs ?? 1000);

let kernels: RingKernels;
beforeAll(async () => {
  kernels = await loadRingKernels();
});

/** What the client may end with when the network misbehaves. */
const allowedCodes = ["E_FRAME", "E_TIMEOUT", "E_PEER_GONE", "E_PROTOCOL"];

const takeItem = ItemStore.prototype.take;

/** Every bundle and every correlation of a bundle that anybody takes, once each or it throws. */
class TakeLog {
  readonly bundles = new Set<string>();
  readonly #stores = new Map<ItemStore, Set<string>>();
  count = 0;

  watch(take = takeItem): void {
    const log = this;
    vi.spyOn(ItemStore.prototype, "take").mockImplementation(function (
      this: ItemStore,
      segment: number,
      gate: number,
    ) {
      const bytes = take.call(this, segment, gate);
      const seen = log.#stores.get(this) ?? new Set();
      log.#stores.set(this, seen.add(once(seen, `${segment}:${gate}`)));
      log.count++;
      return bytes;
    });
  }

  /** A store whose takes are written down; put back or taken twice is an error. */
  store(inner: BundleStore): BundleStore {
    return {
      put: (key, bytes) => inner.put(key, bytes),
      drop: (prefix) => inner.drop(prefix),
      take: async (key) => {
        const bytes = await inner.take(key);
        this.bundles.add(once(this.bundles, key));
        return bytes;
      },
    };
  }
}

function once(seen: ReadonlySet<string>, key: string): string {
  if (seen.has(key)) throw new Error(`${key} was taken twice`);
  return key;
}

const toArrayBuffer = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;

interface Outcome {
  readonly generation: Generation | undefined;
  readonly error: unknown;
  /** How the services ended, in the order in which they began. */
  readonly services: { readonly link: Link; readonly reason: unknown }[];
  readonly fired: boolean;
  readonly takes: number;
  readonly lastMs: number;
}

/** One generation with this fault on the link's first connection of that purpose. */
async function runWith(
  faulty: { link: Link; plan: FaultPlan; seed: number } | undefined,
  ahead: NonNullable<RunOptions["ahead"]> = 0,
): Promise<Outcome> {
  const clock = new VirtualClock();
  const log = new TakeLog();
  log.watch();
  // The platform's digest works outside this thread: here it is made at once, and for what else
  // does, time stands still.
  vi.spyOn(crypto.subtle, "digest").mockImplementation(async (_name, data) =>
    toArrayBuffer(
      createHash("sha256")
        .update(new Uint8Array(data as ArrayBuffer))
        .digest(),
    ),
  );
  const blob = Blob.prototype.arrayBuffer;
  vi.spyOn(Blob.prototype, "arrayBuffer").mockImplementation(function (this: Blob) {
    return clock.hold(blob.call(this));
  });
  let fired = () => false;
  let connections = 0;
  const world = await createWorld({
    model,
    kernels,
    clock,
    timeoutMs,
    client: { store: log.store(memoryStore()) },
    server: { store: log.store(memoryStore()) },
    connect: (link) => {
      if (!faulty || link !== faulty.link || connections++ > 0) return memoryPair();
      const pair = faultyPair({ clock, plan: faulty.plan, seed: faulty.seed });
      fired = pair.fired;
      return pair.transports;
    },
  });
  let generation: Generation | undefined;
  let error: unknown;
  const started = clock.now();
  await clock.run(
    world.generate({ prompt: "pub", ignoreEnd: true, ahead }).then(
      (result) => {
        generation = result;
      },
      (reason: unknown) => {
        error = reason;
      },
    ),
  );
  const services = await clock.run(
    Promise.all(world.services.map(async ({ link, ended }) => ({ link, reason: await ended }))),
  );
  vi.restoreAllMocks();
  return {
    generation,
    error,
    services,
    fired: fired(),
    takes: log.count,
    lastMs: clock.now() - started,
  };
}

function checkOutcome(
  outcome: Outcome,
  right: readonly number[],
  context: string,
  plan?: FaultPlan,
): void {
  const { generation, error, services, lastMs } = outcome;
  expect(lastMs, context).toBeLessThanOrEqual(longestMs(plan));
  for (const reason of [error, ...services.map((service) => service.reason)]) {
    if (reason === undefined) continue;
    expect(reason, `${context}: ${reason}`).toBeInstanceOf(MergenError);
    expect(allowedCodes, `${context}: ${reason}`).toContain((reason as MergenError).code);
  }
  expect(generation === undefined, context).toBe(error !== undefined);
  if (generation) expect(generation.tokens, context).toEqual(right);
}

describe("faults at every frame", () => {
  let clean: Outcome;
  beforeAll(async () => {
    clean = await runWith(undefined);
    expect(clean.error).toBeUndefined();
    expect(clean.services.map(({ reason }) => reason)).toEqual([undefined, undefined, undefined]);
    expect(clean.takes).toBeGreaterThan(20);
  });
  afterEach(() => void vi.restoreAllMocks());

  const cases = allLinks.flatMap((link) =>
    (["aToB", "bToA"] as const).flatMap((direction) =>
      allFaults.map((fault) => ({ link, direction, fault })),
    ),
  );

  it.each(cases)("$link $direction $fault", async ({ link, direction, fault }) => {
    const right = clean.generation!.tokens;
    let fired = true;
    let failed = 0;
    let atFrame = 0;
    for (; fired; atFrame++) {
      expect(atFrame).toBeLessThan(60);
      const plan: FaultPlan = { fault, direction, atFrame };
      const context = `link ${link}, seed ${atFrame}, plan ${JSON.stringify(plan)}`;
      const outcome = await runWith({ link, plan, seed: atFrame });
      checkOutcome(outcome, right, context, plan);
      fired = outcome.fired;
      if (outcome.error) failed++;
      if (!fired || fault === "delay") expect(outcome.error, context).toBeUndefined();
      if (!fired) expect(outcome.takes, context).toBe(clean.takes);
    }
    expect(atFrame).toBeGreaterThan(3);
    // Where every message is an answer, a frame that waits to be overtaken is only late.
    if (fault !== "delay" && fault !== "reorder") expect(failed).toBeGreaterThan(2);
  });

  it("random plans with long delays", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const link = allLinks[Math.floor(seededRandom(seed)() * allLinks.length)]!;
      const plan = randomFaultPlan(seed, link === "client-server" ? 20 : 7);
      const outcome = await runWith({ link, plan, seed });
      const context = `link ${link}, seed ${seed}, plan ${JSON.stringify(plan)}`;
      checkOutcome(outcome, clean.generation!.tokens, context, plan);
    }
  });

  it.each([1, "all"] as const)("bundles made ahead, ahead %s: random plans", async (ahead) => {
    const whole = await runWith(undefined, ahead);
    expect(whole.generation!.tokens).toEqual(clean.generation!.tokens);
    expect(whole.takes).toBe(clean.takes);
    let failed = 0;
    for (let seed = 1; seed <= 30; seed++) {
      const link = allLinks[seed % allLinks.length]!;
      const plan = randomFaultPlan(seed, link === "client-server" ? 20 : 7);
      const outcome = await runWith({ link, plan, seed }, ahead);
      const context = `link ${link}, seed ${seed}, plan ${JSON.stringify(plan)}`;
      checkOutcome(outcome, clean.generation!.tokens, context, plan);
      if (outcome.error) failed++;
    }
    expect(failed).toBeGreaterThan(5);
  });

  it.each(allLinks)("bundles made ahead: %s cut at every frame", async (link) => {
    for (const direction of ["aToB", "bToA"] as const) {
      for (let [atFrame, fired] = [0, true]; fired; atFrame++) {
        expect(atFrame).toBeLessThan(60);
        const plan: FaultPlan = { fault: "cut", direction, atFrame };
        const outcome = await runWith({ link, plan, seed: atFrame }, "all");
        const context = `link ${link}, plan ${JSON.stringify(plan)}`;
        checkOutcome(outcome, clean.generation!.tokens, context, plan);
        fired = outcome.fired;
      }
    }
  });

  it("the same seed gives the same run", async () => {
    for (const [seed, link] of [3, 11].flatMap((s) => allLinks.map((l) => [s, l] as const))) {
      const plan = randomFaultPlan(seed, 7);
      const brief = async () => {
        const { generation, error, takes, lastMs } = await runWith({ link, plan, seed });
        return { tokens: generation?.tokens, code: (error as MergenError)?.code, takes, lastMs };
      };
      expect(await brief()).toEqual(await brief());
    }
  });
});

describe("the checks themselves", () => {
  afterEach(() => void vi.restoreAllMocks());

  it("a correlation that is taken twice is noticed", () => {
    const log = new TakeLog();
    log.watch(() => new Uint8Array(1)); // A store that forgets to forget.
    const items = new ItemStore();
    items.take(0, 1);
    expect(() => items.take(0, 1)).toThrow("taken twice");
  });

  it("a bundle that is taken twice is noticed", async () => {
    const forgetful: BundleStore = {
      put: async () => {},
      take: async () => new Uint8Array(),
      drop: async () => {},
    };
    const store = new TakeLog().store(forgetful);
    await store.take("a/0");
    await expect(store.take("a/0")).rejects.toThrow("taken twice");
  });

  it("a wrong text, an unnamed error and a late end are noticed", async () => {
    const outcome = await runWith(undefined);
    const right = outcome.generation!.tokens;
    checkOutcome(outcome, right, "");
    const bad: [Partial<Outcome>, readonly number[]][] = [
      [{}, right.map((token, i) => (i === 1 ? token + 1 : token))],
      [{ generation: undefined, error: new TypeError("x is undefined") }, right],
      [{ generation: undefined, error: new MergenError("E_INTERNAL", "x") }, right],
      [{ generation: undefined }, right],
      [{ services: [{ link: "client-server", reason: new Error("x") }] }, right],
      [{ lastMs: 1e6 }, right],
    ];
    for (const [change, tokens] of bad) {
      expect(() => checkOutcome({ ...outcome, ...change }, tokens, "")).toThrow();
    }
  });
});

// ---- a server that dies -------------------------------------------------------------------------

/** The process has died: nothing it does has an effect any more. */
class Crash extends Error {}

/** A store that dies before its nth operation; 0 is the first. */
function dying(inner: BundleStore, atOperation: number) {
  const log = { operations: 0, put: [] as string[], taken: [] as string[] };
  const alive = () => {
    if (log.operations++ >= atOperation) throw new Crash("the process has died");
  };
  const store: BundleStore = {
    put: async (key, bytes) => {
      alive();
      await inner.put(key, bytes);
      log.put.push(key);
    },
    take: async (key) => {
      alive();
      const bytes = await inner.take(key);
      log.taken.push(key);
      return bytes;
    },
    drop: async (prefix) => {
      alive();
      await inner.drop(prefix);
    },
  };
  return { store, log };
}

describe("a server that dies between two store operations", () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "mergen-faults-"));
  });
  afterEach(() => rm(root, { recursive: true, force: true }));
  afterAll(() => void vi.restoreAllMocks());

  /** One generation against a server that dies at that operation, then what its folder gives. */
  async function runAndRestart(atOperation: number, ahead: NonNullable<RunOptions["ahead"]>) {
    const folder = join(root, String(atOperation));
    const { store, log } = dying(await fileStore(folder), atOperation);
    const world = await createWorld({ model, kernels, server: { store } });
    const result = await world.generate({ prompt: "pub", ignoreEnd: true, ahead }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await Promise.all(world.services.map(({ ended }) => ended));
    return { folder, log, result };
  }

  it.each([0, "all"] as const)("no bundle can be taken again, ahead %s", async (ahead) => {
    let died = true;
    let crashes = 0;
    for (let atOperation = 0; died; atOperation++) {
      expect(atOperation).toBeLessThan(40);
      const { folder, log, result } = await runAndRestart(atOperation, ahead);
      died = log.operations > atOperation;
      if (died) crashes++;
      // As the folder lies there, nothing that was taken can be opened again ...
      const left = (await readdir(folder)).filter((name) => name !== "owner.pid");
      for (const key of log.taken) {
        expect(left).not.toContain(`${key.replaceAll("/", "-")}.bundle`);
      }
      // ... and after a restart nothing at all.
      const again = await fileStore(folder);
      expect(await readdir(folder)).toEqual(["owner.pid"]);
      for (const key of log.put) {
        await expect(again.take(key)).rejects.toMatchObject({ code: "E_CORRELATION" });
      }
      if (!died) expect(result).toBeUndefined();
      else if (result !== undefined) expect(result).toBeInstanceOf(MergenError);
    }
    // Two bundles of a dealt and an uploaded part, put and taken, and the end of the session.
    expect(crashes).toBe(9);
  });
});
