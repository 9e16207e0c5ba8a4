// Bounds of ordinary decoders: no input that a search finds goes beyond what is proven, in float or
// in the fixed mode, and a config that states less is refused.

import { describe, expect, it } from "vitest";
import { type DecoderOptions, decoderModel, rawDecoder } from "../../test/decoder-model.ts";
import { errorOf, rejectionOf } from "../../test/errors.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { Random } from "../model/random.ts";
import { seenRanges } from "../party/decoder-ranges.ts";
import { fixedBench, type LocalModel } from "../party/local.ts";
import { Server } from "../party/server.ts";
import { checkRanges, provenRanges, statedRanges } from "./ranges.ts";

const kernels = await loadRingKernels();

const shapes: [name: string, options: DecoderOptions][] = [
  ["gpt2", { seed: 1 }],
  ["gpt2, wide", { seed: 2, spread: 4, hiddenSize: 6, headCount: 1, layerCount: 2 }],
  ["gpt2, narrow", { seed: 3, spread: 0.01 }],
  ["llama", { seed: 4, block: "llama", headCount: 4, kvHeadCount: 2 }],
  ["llama, wide", { seed: 5, block: "llama", spread: 3, layerCount: 2 }],
];

/** Greatest of every named wire over one prompt, in float. */
function seenBy(model: LocalModel, ids: readonly number[]) {
  const { wires, logit } = seenRanges(model, floatReference, [ids]);
  return new Map([
    ...[...wires].map(([name, [, most]]) => [name, most] as const),
    ["logits", logit],
  ]);
}

/** Tokens of printable bytes: their numbers are the bytes'. */
const printable = { from: 33, count: 94 };

/** Prompts that make some wire large, found by changing one token at a time. */
function search(model: LocalModel, seed: number, steps: number, tokens = printable) {
  const random = new Random(seed, 5);
  const { positionCount } = model.config;
  const token = () => tokens.from + random.below(tokens.count);
  const best = new Map<string, { most: number; ids: number[] }>();
  const look = (ids: number[]) => {
    for (const [name, most] of seenBy(model, ids)) {
      if (most > (best.get(name)?.most ?? 0)) best.set(name, { most, ids });
    }
  };
  const fresh = () => Array.from({ length: positionCount }, token);
  for (let i = 0; i < 8; i++) look(fresh());
  const names = [...best.keys()];
  for (let i = 0; i < steps; i++) {
    const { ids } = best.get(names[i % names.length]!)!;
    const changed = ids.slice();
    changed[random.below(ids.length)] = token();
    look(changed);
  }
  return best;
}

describe.each(shapes)("%s", (_name, options) => {
  const model = decoderModel(options);
  const { wires, logit } = provenRanges(model.config, model.weights);
  const proven = new Map([...wires, ["logits", logit]]);

  it("no prompt that a search finds goes beyond what is proven", () => {
    const best = search(model, 1, 150, { from: 0, count: model.config.vocabSize });
    for (const [name, bound] of proven) {
      const { most } = best.get(name)!;
      expect(most, name).toBeLessThanOrEqual(bound);
      expect(most, name).toBeGreaterThan(0);
    }
  });

  it("the fixed mode, which checks every bound, runs the worst of them", async () => {
    const bench = fixedBench(model, kernels, 1);
    const worst = [...search(model, 2, 60).values()].map(({ ids }) => ids.slice(0, 6));
    for (const prompt of new Set(worst.map((ids) => String.fromCharCode(...ids)))) {
      const run = await bench({ prompt, maxTokens: 2, ignoreEnd: true });
      expect(run.tokens).toHaveLength(2);
    }
  });

  it("what is stated is never below what is proven, nor calibrated above it", () => {
    const seen = { wires: new Map([["norm", [1e-12, 1e12] as const]]), logit: 1 };
    const { ranges, logitBound } = statedRanges({ wires, logit }, seen);
    for (const [name, bound] of wires) {
      expect(ranges[name]!.proven, name).toBeGreaterThanOrEqual(bound);
      expect(ranges[name]!.proven, name).toBeLessThan(1.003 * bound + 2e-6);
      expect(ranges[name]!.calibrated[1], name).toBeLessThanOrEqual(ranges[name]!.proven);
      expect(ranges[name]!.calibrated[0], name).toBeGreaterThan(0);
    }
    expect(logitBound.proven).toBeGreaterThanOrEqual(logit);
  });

  it("a config that states too little of any wire is refused, and one that asks for it is not", () => {
    checkRanges(model.config, model.weights);
    for (const name of wires.keys()) {
      const range = model.config.ranges![name]!;
      const ranges = {
        ...model.config.ranges,
        [name]: { ...range, proven: 0.99 * wires.get(name)! },
      };
      const less = { ...model.config, ranges };
      expect(errorOf("E_MODEL", () => checkRanges(less, model.weights)).message).toContain(name);
      checkRanges({ ...less, calibratedBounds: true }, model.weights);
      const { [name]: _left, ...rest } = model.config.ranges!;
      errorOf("E_MODEL", () => checkRanges({ ...model.config, ranges: rest }, model.weights));
    }
    const logitBound = { ...model.config.logitBound!, proven: 0.99 * logit };
    errorOf("E_MODEL", () => checkRanges({ ...model.config, logitBound }, model.weights));
  });
});

it("a server does not serve a model whose stated bounds do not follow from its weights", async () => {
  const model = decoderModel({ seed: 6 });
  const range = model.config.ranges!["layers.0.u"]!;
  const ranges = { ...model.config.ranges, "layers.0.u": { ...range, proven: range.proven / 2 } };
  const { message } = await rejectionOf("E_MODEL", () =>
    Server.create({
      kernels,
      config: { ...model.config, ranges },
      weights: model.weights,
      tokenizer: new Uint8Array(0),
      connectDealer: () => Promise.reject(new Error("not asked for")),
    } as never),
  );
  expect(message).toContain("layers.0.u");
});

it("bounds are asked of folded norms alone", () => {
  const { config, weights } = rawDecoder({ seed: 7 });
  errorOf("E_MODEL", () => provenRanges(config, weights));
});
