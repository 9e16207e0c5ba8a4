// The three modes against each other on random small models: float, fixed and secure, node by
// node; and what a secure run sends and computes against what was predicted.

import { beforeAll, describe, expect, it } from "vitest";
import { schedule } from "../src/generate/schedule.ts";
import { floatReference } from "../src/kernel/float-reference.ts";
import { loadRingKernels } from "../src/kernel/load-node.ts";
import { referenceRingKernels } from "../src/kernel/reference.ts";
import type { RingKernels } from "../src/kernel/ring-kernels.ts";
import { encodePrompt } from "../src/model/prompt.ts";
import { Random } from "../src/model/random.ts";
import { fixedBench, floatBench, type LocalModel, type LocalOptions } from "../src/party/local.ts";
import { logitError } from "../src/party/logit-error.ts";
import { generationOptions, type Plan, planGeneration } from "../src/party/plan.ts";
import { predict } from "../src/party/predict.ts";
import type { Generation } from "../src/party/report.ts";
import { decodeItems } from "../src/run/items.ts";
import { FrameReader, type Message } from "../src/wire/frame.ts";
import { memoryPair } from "../src/wire/memory.ts";
import type { Transport } from "../src/wire/transport.ts";
import { compareFixedSecure, compareFloatFixed } from "./compare.ts";
import { type MergedOptions, mergedModel } from "./merged-model.ts";
import { createWorld, type Link } from "./parties.ts";

let kernels: RingKernels;
beforeAll(async () => {
  kernels = await loadRingKernels();
});

const prompt = "pub";
const reference = referenceRingKernels();

const exact = { kind: "softmax", exp: "exact" } as const;

const quad = { kind: "2quad", shift: 5 } as const;

/** Every kind of shape once, named by what is special about it. */
const shapes: [name: string, options: MergedOptions][] = [
  ["plain", {}],
  ["a size that is no power of two", { hiddenSize: 24, headCount: 3, innerSize: 40 }],
  ["wider, three layers", { hiddenSize: 48, headCount: 4, innerSize: 64, layerCount: 3 }],
  ["one head", { hiddenSize: 12, headCount: 1, layerCount: 2, chunk: 1 }],
  ["as many heads as columns", { hiddenSize: 8, headCount: 8, chunk: 3 }],
  ["a narrow inside", { hiddenSize: 24, headCount: 2, innerSize: 3, chunk: 5 }],
  ["without residual", { hiddenSize: 24, headCount: 2, residual: false, layerCount: 2 }],
  ["other coefficients", { coefficients: [0.125, 0.5, 0.25], layerCount: 2, chunk: 4 }],
  ["a head of its own", { tiedHead: false, hiddenSize: 24, headCount: 2, anchor: 3 }],
  ["always anchored", { anchor: 1, layerCount: 2, hiddenSize: 16 }],
  ["a coarse grid", { weightBits: 9, hiddenSize: 24, headCount: 2, anchor: 2 }],
  ["affine", { norm: "affine", hiddenSize: 24, headCount: 3 }],
  ["affine, three layers", { norm: "affine", layerCount: 3, hiddenSize: 20, chunk: 3 }],
  ["affine, anchored", { norm: "affine", layerCount: 2, anchor: 3, chunk: 5 }],
  [
    "affine, other coefficients",
    { norm: "affine", coefficients: [0.125, 0.5, 0.25], anchor: 1, chunk: 1 },
  ],
  ["affine, without residual", { norm: "affine", residual: false, layerCount: 2 }],
  ["hybrid", { hybrid: { layers: [0], attention: exact }, hiddenSize: 16, layerCount: 2 }],
  ["one token", { maxTokens: 1, chunk: 1 }],
];

/** A shape drawn from a seed. */
function randomShape(seed: number): MergedOptions {
  const random = new Random(seed, 77);
  const one = <T>(...list: T[]): T => list[random.below(list.length)]!;
  const headCount = one(1, 2, 4);
  return {
    seed,
    headCount,
    hiddenSize: headCount * (2 + random.below(10)),
    innerSize: 1 + random.below(40),
    layerCount: 1 + random.below(3),
    norm: one("layernorm", "layernorm", "affine"),
    coefficients: one([0.125, 0.25, 0.5], [0.125, 0.5, 0.25]),
    tiedHead: one(true, false),
    maxTokens: 1 + random.below(6),
    chunk: 1 + random.below(5),
    anchor: one(0, 1, 2, 3),
    bucket: 3 + random.below(3),
  };
}

const cases: [name: string, options: MergedOptions][] = [
  ...shapes.map(([name, options], index) => [name, { seed: index + 1, ...options }] as const),
  ...Array.from({ length: 16 }, (_, i) => {
    const options = randomShape(100 + i);
    return [`seed ${100 + i}: ${JSON.stringify(options)}`, options] as const;
  }),
].map(([name, options]) => [name, options]);

describe("node by node", () => {
  it.each(cases)("fixed equals secure, %s", async (_name, options) => {
    const model = mergedModel(options);
    const run = { model, kernels, prompt, seed: options.seed ?? 1 };
    const { tokens, wires, narrow } = await compareFixedSecure(run);
    expect(tokens).toHaveLength(model.config.generation.maxTokens);
    expect(wires).toBeGreaterThan(10);
    // Most of them end in an opening of fewer bits than the ring's, or in logits; with bounds that
    // nobody has proven, only what ends in logits has fewer.
    const isProven = !model.config.calibratedBounds;
    expect(narrow > wires / 2).toBe(isProven);
    expect(narrow).toBeGreaterThan(0);
    const bench = await fixedBench(model, kernels, run.seed)({ prompt, ignoreEnd: true });
    expect(bench.tokens).toEqual(tokens);
  });

  it.each(cases)("fixed stays within the stated errors of float, %s", async (_name, options) => {
    const model = mergedModel(options);
    const run = { model, kernels, prompt, seed: options.seed ?? 1 };
    const { wires, matched, logitError } = await compareFloatFixed(run);
    // Embedding, attention, u and quad of each layer, the states and the head at the least.
    expect(matched).toBeGreaterThan(wires / 6);
    // The gate's own error is below 2 units of the last place of 16 bits over [-2b, 2b).
    const bound = model.config.logitBound!;
    const greatest = model.config.calibratedBounds ? 4 * bound.calibrated : bound.proven;
    const unit = 2 ** (Math.ceil(Math.log2(greatest)) - 15);
    expect(logitError).toBeLessThan(2 * unit + 1e-3);
  });

  const hybrids: [name: string, options: MergedOptions][] = [
    ["2quad", { hybrid: { layers: [1], attention: quad }, layerCount: 2, anchor: 2 }],
    ["2quad in all layers", { hybrid: { layers: [0, 1], attention: quad }, layerCount: 2 }],
    ["2relu", { hybrid: { layers: [1], attention: { kind: "2relu", eps: 1e-3 } }, layerCount: 2 }],
    ["puma", { hybrid: { layers: [0], attention: { kind: "softmax", exp: "puma" } } }],
    [
      "softmax in two layers",
      { hybrid: { layers: [0, 2], attention: exact }, hiddenSize: 24, headCount: 3, layerCount: 3 },
    ],
    [
      "2quad, looked up",
      { hybrid: { layers: [1], attention: quad }, hiddenSize: 24, layerCount: 2, anchor: 1 },
    ],
  ];

  it.each(hybrids)("hybrid layers: fixed equals secure, near float, %s", async (_name, given) => {
    const model = mergedModel({ seed: 3, hiddenSize: 16, ...given });
    const run = { model, kernels, prompt, seed: 1 };
    const { tokens, wires } = await compareFixedSecure(run);
    expect(tokens).toHaveLength(model.config.generation.maxTokens);
    expect(wires).toBeGreaterThan(40);
    const ids = encodePrompt(prompt, model.config, model.tokenizer);
    const both = { ring: kernels, float: floatReference };
    const error = await logitError(model, both, { prompt: ids, maxTokens: 4 });
    expect(error.greatest).toBeLessThan(1e-3 * error.peak);
  });

  describe("tokens found under masks", () => {
    const models: [name: string, options: MergedOptions][] = [
      ["layernorm", { seed: 41, maxTokens: 4, chunk: 2, layerCount: 2 }],
      ["a head of its own", { seed: 42, maxTokens: 3, tiedHead: false, chunk: 3 }],
      ["affine", { seed: 43, maxTokens: 5, norm: "affine", chunk: 4 }],
    ];
    const ways = [
      { next: "lookup" },
      { next: "client", reveal: "token" },
      { reveal: "token" },
      { reveal: "token", anchor: 2 },
    ] as const;

    it.each(models)(
      "%s: fixed equals secure, and stays within float's errors",
      async (...given) => {
        const model = mergedModel(given[1]);
        for (const way of ways) {
          const run = { model, kernels, prompt, seed: 1, ...way };
          const { tokens } = await compareFixedSecure(run);
          expect(tokens).toHaveLength(model.config.generation.maxTokens);
          const bench = await fixedBench(model, kernels, 1)({ prompt, ignoreEnd: true, ...way });
          expect(bench.tokens).toEqual(tokens);
          expect((await compareFloatFixed(run)).matched).toBeGreaterThan(0);
        }
      },
    );
  });

  it("the plain loops give the same as the fast kernels", async () => {
    const run = { model: mergedModel({ seed: 9, maxTokens: 2 }), prompt, seed: 9 };
    const [one, other] = [
      await compareFixedSecure({ ...run, kernels }),
      await compareFixedSecure({ ...run, kernels: reference }),
    ];
    expect(one).toEqual(other);
  });

  it("every generator of function keys gives the same", async () => {
    const run = { model: mergedModel({ seed: 9, maxTokens: 2 }), prompt, seed: 9, kernels };
    const results = [];
    for (const functionPrg of kernels.functionPrgs) {
      results.push(await compareFixedSecure({ ...run, functionPrg }));
    }
    for (const result of results) expect(result).toEqual(results[0]);
  });

  describe("a fault is found where it happens", () => {
    /** Kernels whose opening of the fixed mode alone is off by some units. */
    const skewed = (units: bigint): RingKernels => ({
      ...reference,
      shiftRightSigned(out, a, bits) {
        reference.shiftRightSigned(out, a, bits);
        out[0] = BigInt.asUintN(64, out[0]! + units);
      },
    });
    const model = mergedModel({ seed: 3, maxTokens: 1 });

    it("secure: one unit", async () => {
      const run = compareFixedSecure({ model, kernels: skewed(1n), prompt, seed: 3 });
      await expect(run).rejects.toThrow(
        /^prompt \(segment 0\), gate \d+, open layers\.0\.u: entry 0/,
      );
    });

    it("float: two units", async () => {
      const run = compareFloatFixed({ model, kernels: skewed(2n), prompt, seed: 3 });
      await expect(run).rejects.toThrow(
        /^prompt \(segment 0\), gate \d+, open layers\.0\.u: entry 0/,
      );
    });
  });
});

/** The greedy tokens of six random models, as they were when this was written. */
const pinned: [options: MergedOptions, tokens: string][] = [
  [{ seed: 19, maxTokens: 8 }, "121 159 2 121 114 154 89 53"],
  [
    { seed: 1, maxTokens: 8, hiddenSize: 24, headCount: 3, anchor: 1 },
    "261 194 99 133 191 191 191 191",
  ],
  [{ seed: 20, maxTokens: 8, layerCount: 2, anchor: 3, chunk: 3 }, "261 184 244 234 21 73 73 37"],
  [{ seed: 35, maxTokens: 8, norm: "affine", anchor: 1 }, "48 110 193 208 124 2 205 204"],
  [{ seed: 6, maxTokens: 8, norm: "affine", layerCount: 2 }, "177 146 253 221 149 207 13 100"],
  [
    { seed: 2, maxTokens: 8, coefficients: [0.125, 0.5, 0.25], tiedHead: false, anchor: 2 },
    "109 83 192 210 227 48 130 243",
  ],
];

/** One generation with three parties over memory. */
async function secure(model: LocalModel, options: LocalOptions): Promise<Generation> {
  const world = await createWorld({ model, kernels });
  await world.server.register();
  const defined = Object.entries(options).filter(([, value]) => value !== undefined);
  const generation = await world.generate(Object.fromEntries(defined) as { prompt: string });
  for (const { ended } of world.services) expect(await ended).toBeUndefined();
  return generation;
}

describe("pinned tokens", () => {
  it.each(pinned)("%j: float, fixed and secure", async (options, expected) => {
    const model = mergedModel(options);
    const asked = { prompt: "the pub", ignoreEnd: true };
    const float = await floatBench(model, floatReference)(asked);
    const fixed = await fixedBench(model, kernels, 1)(asked);
    const three = await secure(model, asked);
    expect(float.tokens.join(" ")).toBe(expected);
    expect(fixed.tokens.join(" ")).toBe(expected);
    expect(three.tokens.join(" ")).toBe(expected);
    expect([fixed.text, three.text]).toEqual([float.text, float.text]);
    expect(three.stopped).toBe("length");
  });

  it.each(pinned)("%j: the same when tokens alone are shown to the client", async (...given) => {
    const [options, expected] = given;
    const model = mergedModel(options);
    const asked = { prompt: "the pub", ignoreEnd: true, reveal: "token" } as const;
    expect((await fixedBench(model, kernels, 1)(asked)).tokens.join(" ")).toBe(expected);
    expect((await secure(model, asked)).tokens.join(" ")).toBe(expected);
  });

  it("looking up under masks gives the tokens of a client that looks up", async () => {
    for (const norm of ["layernorm", "affine"] as const) {
      const model = mergedModel({ seed: 1, maxTokens: 8, hiddenSize: 24, headCount: 3, norm });
      const asked = { prompt: "the pub", ignoreEnd: true } as const;
      const wanted = (await secure(model, { ...asked, next: "client" })).tokens;
      expect((await secure(model, { ...asked, next: "lookup" })).tokens).toEqual(wanted);
      for (const next of ["client", "lookup"] as const) {
        const float = await floatBench(model, floatReference)({ ...asked, next });
        expect(float.tokens).toEqual(wanted);
      }
    }
  });
});

async function planOf(model: LocalModel, options: LocalOptions): Promise<Plan> {
  const { config, tokenizer } = model;
  const positions = encodePrompt(options.prompt, config, tokenizer).length;
  return planGeneration(config, generationOptions(config, positions, options));
}

const counters = ({ online, offline }: Pick<Generation, "online" | "offline">) => {
  const { seconds: _one, ...onlineCounters } = online;
  const { seconds: _other, ...offlineCounters } = offline;
  return { online: onlineCounters, offline: offlineCounters };
};

/** Heads whose logits the client must have before anything else can go on. */
function awaitedHeads(plan: Plan): number {
  const segments = plan.segments.map(({ segment }) => segment);
  return segments.filter((segment, i) => {
    const next = segments[i + 1];
    const needed = next === undefined || (next.kind === "step" && next.source === "client");
    return segment.kind === "head" && needed;
  }).length;
}

describe("predicted and measured", () => {
  const models: [name: string, options: MergedOptions, tripsPerLayer: number][] = [
    ["layernorm", { hiddenSize: 12, headCount: 2, layerCount: 1, maxTokens: 6 }, 3],
    ["layernorm, two layers", { layerCount: 2, maxTokens: 6, tiedHead: false }, 3],
    ["affine", { norm: "affine", layerCount: 2, maxTokens: 6 }, 2],
  ];

  it.each(models)("%s: every counter and every round trip", async (_name, options, perLayer) => {
    const model = mergedModel({ seed: 31, ...options });
    const { layerCount } = model.config;
    const world = await createWorld({ model, kernels });
    await world.server.register();
    const combinations = [1, 2, 3, 5, 6].flatMap((maxTokens) =>
      [1, 2, 5].flatMap((chunk) => [0, 1, 2, 3].map((anchor) => ({ maxTokens, chunk, anchor }))),
    );
    for (const asked of combinations) {
      const text = `${JSON.stringify(asked)}`;
      const plan = await planOf(model, { prompt, ...asked });
      const predicted = predict(plan);
      const run = await world.generate({ prompt, ignoreEnd: true, ...asked });
      expect(run.tokens, text).toHaveLength(asked.maxTokens);
      const { online, offline } = predicted;
      expect(counters(run), text).toEqual({ online, offline });
      const trips = asked.maxTokens * perLayer * layerCount + awaitedHeads(plan);
      expect(run.online.roundTrips, text).toBe(trips);
      expect(plan.digest).toBe(predicted.digest);
    }
  });

  it("tokens found under masks: every counter", async () => {
    for (const norm of ["layernorm", "affine"] as const) {
      const model = mergedModel({ seed: 31, norm, layerCount: 2, maxTokens: 6 });
      const world = await createWorld({ model, kernels });
      await world.server.register();
      for (const asked of [
        { next: "lookup", maxTokens: 6, chunk: 2 },
        { next: "lookup", maxTokens: 1 },
        { reveal: "token", maxTokens: 5, chunk: 3, anchor: 0 },
        { reveal: "token", maxTokens: 5, chunk: 2, anchor: 2 },
        { reveal: "token", maxTokens: 4, next: "client" },
      ] as const) {
        const { online, offline } = predict(await planOf(model, { prompt, ...asked }));
        const run = await world.generate({ prompt, ignoreEnd: true, ...asked });
        expect(run.tokens).toHaveLength(asked.maxTokens);
        expect(counters(run), JSON.stringify(asked)).toEqual({ online, offline });
      }
    }
  });

  it("one more token costs three round trips a layer and no more, two where the norm is affine", async () => {
    for (const norm of ["layernorm", "affine"] as const) {
      const model = mergedModel({ seed: 32, norm, layerCount: 3, maxTokens: 6 });
      const trips = await Promise.all(
        [2, 3, 4, 5, 6].map(async (maxTokens) => {
          const plan = await planOf(model, { prompt, maxTokens, chunk: 6, anchor: 0 });
          return predict(plan).online.roundTrips;
        }),
      );
      const perToken = norm === "layernorm" ? 9 : 6;
      expect(trips.map((count) => count - trips[0]!)).toEqual(
        [0, 1, 2, 3, 4].map((n) => n * perToken),
      );
    }
  });

  it("multiply-adds of linear layers: as many at each party, none at the client online", async () => {
    const model = mergedModel({ seed: 33, hiddenSize: 24, headCount: 3, maxTokens: 5, anchor: 2 });
    const counts = { client: 0, online: 0, server: 0, dealer: 0 };
    let online = false;
    const world = await createWorld({
      model,
      kernels,
      client: {
        kernels: counting(kernels, (count) => {
          counts.client += count;
          if (online) counts.online += count;
        }),
      },
      server: {
        kernels: counting(kernels, (count) => {
          counts.server += count;
        }),
      },
      dealer: {
        kernels: counting(kernels, (count) => {
          counts.dealer += count;
        }),
      },
      connect: observedConnect((link, message) => {
        // C prepares between a bundle's arrival and its upload; all else is online.
        if (link === "client-dealer" && message.kind === "bundle") online = false;
        if (link === "client-server" && message.kind === "upload") online = true;
      }),
    });
    await world.server.register();
    await world.generate({ prompt, ignoreEnd: true });
    const plan = await planOf(model, { prompt });
    const matrices = plan.segments
      .flatMap(({ gates }) => gates)
      .reduce((sum, gate) => {
        const map = "map" in gate ? gate.map : undefined;
        return sum + (map?.type === "matrix" ? gate.rows * gate.columns * map.inner : 0);
      }, 0);
    expect(counts).toEqual({ client: matrices, online: 0, server: matrices, dealer: matrices });
    const { multiplyAdds } = predict(plan);
    expect(multiplyAdds.server).toBeGreaterThan(matrices); // attention comes on top
    expect([multiplyAdds.client, multiplyAdds.dealer]).toEqual([
      multiplyAdds.server,
      multiplyAdds.server,
    ]);
  });

  it("logits cost two bytes an entry of the vocabulary", async () => {
    const model = mergedModel({ seed: 34, maxTokens: 5, chunk: 2 });
    const plan = await planOf(model, { prompt });
    const heads = plan.segments.flatMap(({ id, gates }) =>
      gates
        .filter(({ kind }) => kind === "logits")
        .map((gate) => ({ key: `${id}:${gate.id}`, gate })),
    );
    const seen = new Map<string, number>();
    const world = await createWorld({
      model,
      kernels,
      connect: observedConnect((link, message, toOpener) => {
        if (link !== "client-server" || message.kind !== "online" || !toOpener) return;
        for (const { segment, gate, bytes } of decodeItems(message.payload)) {
          const key = `${segment}:${gate}`;
          if (heads.some((head) => head.key === key)) seen.set(key, bytes.length);
        }
      }),
    });
    await world.generate({ prompt, ignoreEnd: true });
    expect([...seen.values()].reduce((sum, size) => sum + size, 0)).toBe(
      2 * model.config.vocabSize * 5,
    );
    for (const { key, gate } of heads) {
      expect(seen.get(key)).toBe(2 * gate.rows * model.config.vocabSize);
    }
  });

  it("an end token saves what comes after it", async () => {
    const options: MergedOptions = { seed: 35, maxTokens: 8, chunk: 2, anchor: 1, spread: 2 };
    const open = mergedModel(options);
    const { tokens } = await secure(open, { prompt, ignoreEnd: true });
    for (const anchor of [0, 1]) {
      for (const place of [0, 1, 2, 4, 7]) {
        const whole = anchor === 1 ? tokens : await tokensOf(open, anchor);
        const end = whole[place]!;
        const first = whole.indexOf(end);
        const config = { ...open.config, tokens: { ...open.config.tokens, end } };
        const model = { ...open, config };
        const run = await secure(model, { prompt, anchor });
        expect(run.tokens).toEqual(whole.slice(0, first));
        expect(run.stopped).toBe("end");
        const predicted = predict(await planOf(model, { prompt, anchor }));
        const most = counters(predicted as unknown as Generation);
        for (const part of ["online", "offline"] as const) {
          for (const [name, value] of Object.entries(counters(run)[part])) {
            expect(value, name).toBeLessThanOrEqual((most[part] as Record<string, number>)[name]!);
          }
        }
        if (first > 5) continue; // The last chunk has no rest to save.
        expect(run.online.serverSentBytes).toBeLessThan(predicted.online.serverSentBytes);
        expect(run.offline.dealerToServerBytes).toBeLessThan(predicted.offline.dealerToServerBytes);
      }
    }
  });
});

async function tokensOf(model: LocalModel, anchor: number): Promise<readonly number[]> {
  return (await secure(model, { prompt, anchor, ignoreEnd: true })).tokens;
}

/** Kernels that say how many multiply-adds of matrix products they were asked for. */
function counting(inner: RingKernels, count: (multiplyAdds: number) => void): RingKernels {
  return new Proxy(inner, {
    get(target, name) {
      if (name === "matmul") {
        return (...args: Parameters<RingKernels["matmul"]>) => {
          const [out, , matrix] = args;
          count(out.length * matrix.rows);
          target.matmul(...args);
        };
      }
      if (name === "matmulKeystream") {
        return (...args: Parameters<RingKernels["matmulKeystream"]>) => {
          const [out, , matrix] = args;
          count(out.length * (matrix.transposed ? matrix.columns : matrix.rows));
          target.matmulKeystream(...args);
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Memory connections whose messages are looked at as they are delivered. */
function observedConnect(
  look: (link: Link, message: Message, toOpener: boolean) => void,
): (link: Link) => [Transport, Transport] {
  const observed = (inner: Transport, see: (message: Message) => void): Transport => {
    const reader = new FrameReader({ maxMessageBytes: 2 ** 28 });
    return {
      send: (bytes) => inner.send(bytes),
      close: () => inner.close(),
      onClose: (handler) => inner.onClose(handler),
      onFrame: (handler) =>
        inner.onFrame((bytes) => {
          const message = reader.push(bytes);
          if (message) see(message);
          handler(bytes);
        }),
    };
  };
  return (link) => {
    const [near, far] = memoryPair();
    return [
      observed(near, (message) => look(link, message, true)),
      observed(far, (message) => look(link, message, false)),
    ];
  };
}

it("a schedule's heads cover every state once", () => {
  // What the round-trip formula above rests on.
  const segments = schedule({ promptPositions: 3, maxTokens: 7, chunk: 2, anchor: 3 });
  const covered = segments.flatMap((segment) => (segment.kind === "head" ? [segment.states] : []));
  expect(covered.flat()).toEqual([0, 2, 2, 3, 3, 5, 5, 6, 6, 7]);
});
