// Bundles that are asked for and prepared ahead of their use, on the caller's thread and beside it:
// the same text and the same bytes in every case, an orderly end when the text ends early, and a
// named error on all sides when one cannot be prepared.

import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import {
  createWorld,
  type GenerateSettings,
  type Link,
  type World,
  type WorldOptions,
} from "../../test/parties.ts";
import { ensure, MergenError } from "../errors.ts";
import { schedule } from "../generate/schedule.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { Arena } from "../ring/memory.ts";
import { Prg, SEED_BYTES } from "../ring/prg.ts";
import { decodeControl } from "../wire/control.ts";
import { FrameReader, type Message } from "../wire/frame.ts";
import { memoryPair } from "../wire/memory.ts";
import type { Transport } from "../wire/transport.ts";
import type { RunOptions, SegmentProgress } from "./client-run.ts";
import type { LocalModel } from "./local.ts";
import { toHex } from "./messages.ts";
import { type Plan, planGeneration } from "./plan.ts";
import { predict } from "./predict.ts";
import { inlinePreparer, type Preparer, type StartPreparer } from "./preparer.ts";
import { threadPreparer } from "./preparer-node.ts";
import type { Generation } from "./report.ts";
import { insecureSeeds, type SeedSource } from "./seeds.ts";
import { type BundleStore, memoryStore } from "./store.ts";

const kernels = await loadRingKernels();
const shape = { maxTokens: 5, chunk: 1, innerSize: 8, bucket: 2 } as const;
const model = mergedModel({ seed: 10, ...shape });
const asked = { promptPositions: 2, maxTokens: 5, chunk: 1, anchor: 0 };
const prompt = "pub";
const timeoutMs = 20_000;
const depths: readonly NonNullable<RunOptions["ahead"]>[] = [0, 1, 2, "all"];

let plan: Plan;
beforeAll(async () => {
  plan = await planGeneration(model.config, asked);
});

/** What happened, in order: deals and bundles on C's side, uploads and online messages. */
type Step = "deal" | "bundle" | "upload" | "online";

/** A store that can say what it still holds. */
function listedStore(): { store: BundleStore; kept: Set<string> } {
  const inner = memoryStore();
  const kept = new Set<string>();
  const store: BundleStore = {
    put: async (key, bytes) => {
      await inner.put(key, bytes);
      kept.add(key);
    },
    take: async (key) => {
      const bytes = await inner.take(key);
      kept.delete(key);
      return bytes;
    },
    drop: async (prefix) => {
      await inner.drop(prefix);
      for (const key of [...kept]) if (key.startsWith(prefix)) kept.delete(key);
    },
  };
  return { store, kept };
}

interface Watched {
  readonly world: World;
  readonly steps: Step[];
  /** Bundles that nobody took or dropped, at C and S. */
  left(): number;
}

async function watchedWorld(
  options: Partial<WorldOptions> & {
    startPreparer?: StartPreparer | undefined;
    delayMs?: number;
  } = {},
): Promise<Watched> {
  const steps: Step[] = [];
  const [atClient, atServer] = [listedStore(), listedStore()];
  const { startPreparer = inlinePreparer, delayMs, ...rest } = options;
  const world = await createWorld({
    model,
    kernels,
    timeoutMs,
    client: { store: atClient.store, startPreparer },
    server: { store: atServer.store },
    connect: watchedConnect((link, message, sent) => {
      const step = stepOf(link, message, sent);
      if (step) steps.push(step);
    }, delayMs),
    ...rest,
  });
  return { world, steps, left: () => atClient.kept.size + atServer.kept.size };
}

function stepOf(link: Link, { kind, payload }: Message, sent: boolean): Step | undefined {
  if (link === "client-server") {
    return sent && (kind === "upload" || kind === "online") ? kind : undefined;
  }
  if (link !== "client-dealer") return undefined;
  if (kind === "bundle") return "bundle";
  return kind === "control" && decodeControl(payload).type === "deal" ? "deal" : undefined;
}

/**
 * Memory connections whose messages are seen at their opener's end, sent and received; what the
 * server sends its client takes `delayMs`.
 */
function watchedConnect(
  see: (link: Link, message: Message, sent: boolean) => void,
  delayMs = 0,
): NonNullable<WorldOptions["connect"]> {
  return (link) => {
    const [near, far] = memoryPair();
    let tail = Promise.resolve();
    const later = (body: () => void) => {
      if (delayMs === 0 || link !== "client-server") return body();
      const delay = () => new Promise<void>((resolve) => void setTimeout(resolve, delayMs));
      tail = tail.then(delay).then(body);
    };
    const [out, back] = [0, 1].map(() => new FrameReader({ maxMessageBytes: 2 ** 28 }));
    const watched: Transport = {
      send: (bytes) => {
        const message = out!.push(bytes);
        if (message) see(link, message, true);
        return near.send(bytes);
      },
      onFrame: (handler) =>
        near.onFrame((bytes) => {
          const message = back!.push(bytes);
          if (message) see(link, message, false);
          later(() => handler(bytes));
        }),
      onClose: (handler) => near.onClose((reason) => later(() => handler(reason))),
      close: () => near.close(),
    };
    return [watched, far];
  };
}

const counters = ({ online, offline }: Pick<Generation, "online" | "offline">) => {
  const { seconds: _one, ...onlineCounters } = online;
  const { seconds: _other, ...offlineCounters } = offline;
  return { online: onlineCounters, offline: offlineCounters };
};

async function inOrder({ world, left }: Watched): Promise<void> {
  for (const { link, ended } of world.services) expect(await ended, link).toBeUndefined();
  expect(left()).toBe(0);
}

/** The model with the end token at this place of its text. */
async function ending(place: number): Promise<{ model: LocalModel; tokens: readonly number[] }> {
  const varied = mergedModel({ seed: 35, ...shape, maxTokens: 8, anchor: 1, spread: 2 });
  const { world } = await watchedWorld({ model: varied });
  const { tokens } = await world.generate({ prompt, ignoreEnd: true });
  const end = tokens[place]!;
  const config = { ...varied.config, tokens: { ...varied.config.tokens, end } };
  return { model: { ...varied, config }, tokens: tokens.slice(0, tokens.indexOf(end)) };
}

describe.each([
  ["on the caller's thread", inlinePreparer],
  ["beside it", threadPreparer],
] as const)("prepared %s", (_name, startPreparer) => {
  const texts = new Set<string>();

  it.each(depths)(
    "ahead %s: the same text, and the bytes that the plan predicts",
    async (ahead) => {
      const watched = await watchedWorld({ startPreparer });
      const run = await watched.world.generate({ prompt, ignoreEnd: true, ahead });
      const { online, offline } = predict(plan);
      expect(counters(run)).toEqual({ online, offline });
      expect(run.tokens).toHaveLength(5);
      texts.add(JSON.stringify([run.text, run.tokens]));
      expect(texts.size).toBe(1);
      await inOrder(watched);
    },
  );

  it("one after the other with one client, several at one time", async () => {
    const { world, left } = await watchedWorld({ startPreparer });
    const runs = await Promise.all(
      depths.map((ahead) => world.generate({ prompt, ignoreEnd: true, ahead })),
    );
    const alone = await world.generate({ prompt, ignoreEnd: true });
    for (const { tokens } of runs) expect(tokens).toEqual(alone.tokens);
    expect(left()).toBe(0);
  });
});

describe("a segment's memory", () => {
  afterEach(() => void vi.restoreAllMocks());

  /** Overwrites all that an arena has given when it takes it back. */
  function poison(): { resets: number } {
    const seen = { resets: 0 };
    const given = new WeakMap<Arena, (Uint8Array | BigUint64Array)[]>();
    const { words, bytes, reset } = Arena.prototype;
    const note = <T extends Uint8Array | BigUint64Array>(arena: Arena, part: T): T => {
      given.set(arena, [...(given.get(arena) ?? []), part]);
      return part;
    };
    vi.spyOn(Arena.prototype, "words").mockImplementation(function (this: Arena, count) {
      return note(this, words.call(this, count));
    });
    vi.spyOn(Arena.prototype, "bytes").mockImplementation(function (this: Arena, count) {
      return note(this, bytes.call(this, count) as Uint8Array<ArrayBuffer>);
    });
    vi.spyOn(Arena.prototype, "reset").mockImplementation(function (this: Arena) {
      for (const { buffer, byteOffset, byteLength } of given.get(this) ?? []) {
        new Uint8Array(buffer, byteOffset, byteLength).fill(0xa5);
      }
      given.delete(this);
      seen.resets++;
      reset.call(this);
    });
    return seen;
  }

  it.each(depths)("is not read after it has been given back, ahead %s", async (ahead) => {
    for (const anchor of [0, 2]) {
      const { world } = await watchedWorld();
      const { tokens } = await world.generate({ prompt, ignoreEnd: true, anchor });
      const seen = poison();
      expect((await world.generate({ prompt, ignoreEnd: true, anchor, ahead })).tokens).toEqual(
        tokens,
      );
      // Each segment of C's and of S's, but the last ones of either.
      const segments = schedule({ ...asked, anchor }).length;
      expect(seen.resets).toBeGreaterThanOrEqual(2 * segments - 4);
      vi.restoreAllMocks();
    }
  });
});

describe("bundles in their stores", () => {
  it.each(depths)(
    "are taken by C and S, each once, before C goes online, ahead %s",
    async (ahead) => {
      const events: string[] = [];
      const logged = (party: string): BundleStore => {
        const inner = memoryStore();
        const take = (key: string) => {
          events.push(`${party} ${key.split("/").slice(1).join("/")}`);
          return inner.take(key);
        };
        return { ...inner, take };
      };
      const world = await createWorld({
        model,
        kernels,
        timeoutMs,
        client: { store: logged("client") },
        server: { store: logged("server") },
        connect: watchedConnect((link, message, sent) => {
          if (stepOf(link, message, sent) === "online") events.push("online");
        }),
      });
      await world.generate({ prompt, ignoreEnd: true, ahead });
      const taken = (party: string) => events.filter((event) => event.startsWith(party));
      expect(plan.bundles.length).toBeGreaterThan(1);
      expect(taken("client")).toEqual(plan.bundles.map((_, i) => `client ${i}/client`));
      expect(taken("server")).toEqual(
        plan.bundles.flatMap((_, i) => [`server ${i}/dealt`, `server ${i}/upload`]),
      );
      expect(events.indexOf("online")).toBeGreaterThan(events.indexOf("client 0/client"));
    },
  );
});

describe("seeds", () => {
  afterEach(() => void vi.restoreAllMocks());

  it.each(depths)("are overwritten by all who had them, ahead %s", async (ahead) => {
    const { world } = await watchedWorld();
    const erased = vi.spyOn(Prg.prototype, "erase");
    await world.generate({ prompt, ignoreEnd: true, ahead });
    // Of each bundle: D's three, C's offline and online, and S's.
    expect(erased).toHaveBeenCalledTimes(6 * plan.bundles.length);
  });

  it.each([
    ["all are used", async () => model, { ignoreEnd: true }],
    ["the text ends early", async () => (await ending(1)).model, {}],
  ] as const)("are overwritten in every copy of theirs, where %s", async (_name, of, how) => {
    const used = await of();
    const dealt = new Set<string>();
    const source = insecureSeeds(1);
    const seeds: SeedSource = async (label) => {
      const seed = await source(label);
      dealt.add(toHex(seed));
      return seed;
    };
    const { world } = await watchedWorld({ model: used, dealer: { seeds } });
    const copies: { readonly copy: Uint8Array; readonly was: string }[] = [];
    const { slice } = Uint8Array.prototype;
    vi.spyOn(Uint8Array.prototype, "slice").mockImplementation(function (
      this: Uint8Array<ArrayBuffer>,
      ...range
    ) {
      const copy = slice.apply(this, range);
      if (copy.length === SEED_BYTES) copies.push({ copy, was: toHex(copy) });
      return copy;
    });
    await world.generate({ prompt, ahead: "all", ...how });
    vi.restoreAllMocks();
    const ofSeeds = copies.filter(({ was }) => dealt.has(was));
    expect(ofSeeds.length).toBeGreaterThan(0);
    for (const { copy } of ofSeeds) expect(copy).toEqual(new Uint8Array(SEED_BYTES));
  });
});

describe("how far ahead", () => {
  const count = (steps: readonly Step[], step: Step) => steps.filter((one) => one === step).length;
  const stepsOf = async (settings: Partial<GenerateSettings>, startPreparer?: StartPreparer) => {
    // Slower than a bundle is made, so that there is time to make one meanwhile.
    const { world, steps } = await watchedWorld({ startPreparer, delayMs: 15 });
    await world.generate({ prompt, ignoreEnd: true, ...settings });
    const bundles = plan.bundles.length;
    for (const step of ["deal", "bundle", "upload"] as const) {
      expect(count(steps, step), step).toBe(bundles);
    }
    return steps;
  };
  /** Bundles asked for, and uploaded, before each online message of C. */
  const beforeOnline = (steps: readonly Step[]) =>
    steps.flatMap((step, i) => {
      const before = steps.slice(0, i);
      return step === "online"
        ? { deals: count(before, "deal"), uploads: count(before, "upload") }
        : [];
    });

  it("0: a bundle is asked for when the one before it is used up", async () => {
    const seen = beforeOnline(await stepsOf({ ahead: 0 }));
    for (const { deals, uploads } of seen) expect(uploads).toBe(deals);
    // In the last one, the logits, C says nothing.
    const used = new Set(seen.map(({ deals }) => deals));
    expect([...used]).toEqual(plan.bundles.map((_, i) => i + 1).slice(0, -1));
  });

  it("1 and 2: so many more, while it is used", async () => {
    expect(plan.bundles.length).toBeGreaterThan(3);
    const inUse = beforeOnline(await stepsOf({ ahead: 0 })).map(({ deals }) => deals);
    for (const ahead of [1, 2]) {
      const seen = beforeOnline(await stepsOf({ ahead }));
      expect(seen).toHaveLength(inUse.length);
      const further = seen.map(({ deals, uploads }, i) => {
        expect(uploads).toBeGreaterThanOrEqual(inUse[i]!);
        expect(deals).toBeLessThanOrEqual(inUse[i]! + ahead);
        return uploads - inUse[i]!;
      });
      // Bundles are uploaded between online messages of the ones before them.
      expect(Math.max(...further)).toBeGreaterThanOrEqual(1);
      expect(Math.max(...further)).toBeLessThanOrEqual(ahead);
      expect(Math.max(...seen.map(({ deals }, i) => deals - inUse[i]!))).toBe(ahead);
    }
  });

  it("all: everything is uploaded before the first online message", async () => {
    const steps = await stepsOf({ ahead: "all" });
    const first = steps.indexOf("online");
    expect(count(steps.slice(0, first), "upload")).toBe(plan.bundles.length);
    expect(steps.slice(first).every((step) => step === "online")).toBe(true);
  });

  it("batches: every one is uploaded before its first message, and nothing while it is used", async () => {
    const steps = await stepsOf({ ahead: { batch: 2 } });
    for (const { deals, uploads } of beforeOnline(steps)) {
      expect(uploads).toBe(deals);
      expect(deals % 2 === 0 || deals === plan.bundles.length).toBe(true);
    }
    expect(new Set(beforeOnline(steps).map(({ deals }) => deals)).size).toBeGreaterThan(1);
  });

  it("by default 0 on the caller's thread and 1 beside it", async () => {
    const inline = await stepsOf({});
    expect(count(inline.slice(0, inline.indexOf("online")), "deal")).toBe(1);
    const background: StartPreparer = (setup, own) => ({
      ...inlinePreparer(setup, own),
      background: true,
    });
    const beside = await stepsOf({}, background);
    const inUse = beforeOnline(inline);
    const ahead = beforeOnline(beside).map(({ deals }, i) => deals - inUse[i]!.deals);
    expect([Math.min(...ahead) >= 0, Math.max(...ahead)]).toEqual([true, 1]);
  });

  it("says how far it is: every segment once, in order, with totals that only grow", async () => {
    for (const ahead of depths) {
      const { world } = await watchedWorld();
      const seen: SegmentProgress[] = [];
      const onSegment = (progress: SegmentProgress) => seen.push(progress);
      const { online } = await world.generate({ prompt, ignoreEnd: true, ahead, onSegment });
      expect(seen.map(({ segment }) => segment.id).sort((a, b) => a - b)).toEqual(
        plan.segments.map(({ id }) => id),
      );
      for (const name of ["atMs", "roundTrips", "sentBytes", "receivedBytes"] as const) {
        const values = seen.map((progress) => progress[name]);
        expect(values).toEqual([...values].sort((a, b) => a - b));
      }
      const last = seen.at(-1)!;
      expect(last.roundTrips).toBe(online.roundTrips);
      expect(last.receivedBytes).toBe(online.serverSentBytes);
      expect(last.sentBytes).toBe(online.clientSentBytes);
    }
  });
});

describe("an end token before the last bundle", () => {
  it.each(depths)("ends all sides in order, ahead %s", async (ahead) => {
    for (const place of [0, 1, 3]) {
      const { model: short, tokens } = await ending(place);
      for (const startPreparer of place === 1
        ? [inlinePreparer, threadPreparer]
        : [inlinePreparer]) {
        const watched = await watchedWorld({ model: short, startPreparer });
        const run = await watched.world.generate({ prompt, ahead });
        expect(run.tokens).toEqual(tokens);
        expect(run.stopped).toBe("end");
        await inOrder(watched);
        // A later one with the same parties is as good.
        expect((await watched.world.generate({ prompt, ahead })).tokens).toEqual(tokens);
      }
    }
  });

  it("waits for a bundle that is being prepared: its upload still comes before the end", async () => {
    const { model: short, tokens } = await ending(1);
    let finished = 0;
    const slow: StartPreparer = (setup, own) => {
      const inner = inlinePreparer(setup, own);
      return {
        ...inner,
        background: true,
        prepare: async (seed) => {
          const bundle = await inner.prepare(seed);
          await new Promise((resolve) => setTimeout(resolve, 30));
          finished++;
          return bundle;
        },
      };
    };
    const watched = await watchedWorld({ model: short, startPreparer: slow });
    const run = await watched.world.generate({ prompt, ahead: 1 });
    expect(run.tokens).toEqual(tokens);
    expect(finished).toBe(watched.steps.filter((step) => step === "upload").length);
    await inOrder(watched);
  });
});

describe("a preparer that fails", () => {
  /** Prepares so many bundles, then fails with this. */
  const failing =
    (after: number, reason: MergenError): StartPreparer =>
    (setup, own) => {
      const inner = inlinePreparer(setup, own);
      let prepared = 0;
      const prepare: Preparer["prepare"] = async (seed) => {
        ensure(prepared < after, reason.code, reason.message);
        prepared++;
        return inner.prepare(seed);
      };
      return { ...inner, prepare };
    };

  it.each(depths)(
    "gives its error to the client and its code to both peers, ahead %s",
    async (ahead) => {
      for (const after of [0, 1, 2]) {
        const reason = new MergenError("E_INTERNAL", "no more room to prepare in");
        const watched = await watchedWorld({ startPreparer: failing(after, reason) });
        const run = () => watched.world.generate({ prompt, ignoreEnd: true, ahead });
        const error = await rejectionOf("E_INTERNAL", run);
        expect(error.message).toBe(reason.message);
        for (const { link, ended } of watched.world.services) {
          const code = ((await ended) as MergenError | undefined)?.code;
          // D and S close the connection between them when their client is gone.
          if (link === "server-dealer") expect([undefined, "E_PEER_GONE"]).toContain(code);
          else expect(code, link).toBe("E_INTERNAL");
        }
        expect(watched.left()).toBe(0);
      }
    },
  );

  it("in a thread: what the thread says, and a thread that dies", async () => {
    const blind: StartPreparer = (setup) =>
      threadPreparer({ ...setup, plan: { ...setup.plan, tensors: [] } });
    const seeded: StartPreparer = (setup) =>
      threadPreparer({ ...setup, maskSeed: undefined as unknown as Uint8Array });
    for (const [startPreparer, message] of [
      [blind, /is not part of the plan/],
      [seeded, /the thread that prepares bundles died/],
    ] as const) {
      for (const ahead of [0, "all"] as const) {
        const watched = await watchedWorld({ startPreparer });
        const run = () => watched.world.generate({ prompt, ignoreEnd: true, ahead });
        expect((await rejectionOf("E_INTERNAL", run)).message).toMatch(message);
        for (const { link, ended } of watched.world.services) {
          const code = ((await ended) as MergenError | undefined)?.code;
          if (link !== "server-dealer") expect(code, link).toBe("E_INTERNAL");
        }
        expect(watched.left()).toBe(0);
      }
    }
  });
});

describe("the thread's preparer", () => {
  const maskSeed = new Uint8Array(32).fill(4);
  const seedOf = (bundle: number) => new Uint8Array(32).fill(100 + bundle);

  it("prepares what the caller's thread would, bundle after bundle, and keeps the seed's copy", async () => {
    const [beside, here] = [
      threadPreparer({ plan, maskSeed }),
      inlinePreparer({ plan, maskSeed }, kernels),
    ];
    expect([beside.background, here.background]).toEqual([true, false]);
    for (const bundle of plan.bundles.keys()) {
      const seed = seedOf(bundle);
      const made = await beside.prepare(seed);
      expect(seed).toEqual(seedOf(bundle));
      expect(made).toEqual(await here.prepare(seed));
    }
    beside.close();
    here.close();
  });

  it("takes one bundle at a time", async () => {
    const preparer = threadPreparer({ plan, maskSeed });
    const first = preparer.prepare(seedOf(0));
    await rejectionOf("E_INTERNAL", async () => preparer.prepare(seedOf(1)));
    expect((await first).wires).toHaveLength(plan.bundles[0]!.length);
    await preparer.prepare(seedOf(1));
    preparer.close();
  });

  it("that is closed rejects what is under way, and all that comes after", async () => {
    const preparer = threadPreparer({ plan, maskSeed });
    const pending = preparer.prepare(seedOf(0));
    preparer.close();
    await rejectionOf("E_INTERNAL", () => pending);
    await rejectionOf("E_INTERNAL", () => preparer.prepare(seedOf(1)));
  });
});

describe("an abort", () => {
  it.each(depths)("while bundles are made ahead is E_INTERRUPTED, ahead %s", async (ahead) => {
    for (const startPreparer of [inlinePreparer, threadPreparer]) {
      const watched = await watchedWorld({ startPreparer });
      const abort = new AbortController();
      const onText = () => abort.abort();
      const { signal } = abort;
      const run = () => watched.world.generate({ prompt, ignoreEnd: true, ahead, signal, onText });
      await rejectionOf("E_INTERRUPTED", run);
      for (const { ended } of watched.world.services) {
        const reason = await ended;
        if (reason !== undefined) expect(reason).toBeInstanceOf(MergenError);
      }
      expect(watched.left()).toBe(0);
    }
  });
});
