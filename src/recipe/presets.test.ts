import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { tinyConfig } from "../../test/tiny-model.ts";
import { Graph } from "../graph/graph.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { cacheInputs, decoder, weightShapes } from "../model/decoder.ts";
import { initialWeights } from "../model/initial.ts";
import { runFloat } from "../run/float.ts";
import { applyPreset, isMerged, presetNames, studentPreset } from "./presets.ts";
import { reciprocalStart } from "./reciprocal.ts";

const ordinary = tinyConfig({
  recipe: "vanilla",
  hiddenSize: 8,
  headCount: 2,
  layerCount: 3,
  attention: "softmax",
  activation: { kind: "gelu", form: "erf" },
  norm: { kind: "layernorm", eps: 1e-5, scale: true },
  nextToken: "lookup",
  generation: { maxTokens: 8, chunk: 1, anchor: 1 },
});
const mergedConfig = tinyConfig({ norm: { kind: "layernorm", eps: 1e-5, scale: false } });
const transformers = presetNames.filter((name) => !isMerged(name));
const someValues = (length: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin(12.9898 * (i + 1)));

function weightsOf(config: ModelConfig) {
  const weights = initialWeights(config, 3);
  return new Map([...weights].map(([name, { data }]) => [name, data]));
}

/** Hidden states of 2 texts of 5 rows at once; `split` computes rows 3 and 4 behind a cache. */
function states(config: ModelConfig, x: Float32Array, lead: number[], split: boolean) {
  const weights = weightsOf(config);
  const d = config.hiddenSize;
  const graph = new Graph();
  const first = split ? 3 : 5;
  const whole = graph.input("x", [...lead, 5, d]);
  const out = decoder(graph, config, { x: whole.sliceRows(0, first), start: 0 });
  graph.output("hidden", out.hidden);
  for (const [layer, parts] of out.caches.entries()) {
    for (const [part, cache] of parts.entries()) graph.output(`cache.${layer}.${part}`, cache);
  }
  const inputs = new Map([["x", x]]);
  const results = runFloat(graph, { weights, inputs, kernels: floatReference });
  if (!split) return results.get("hidden")!;
  const later = new Graph();
  const rest = later.input("x", [...lead, 5, d]).sliceRows(first, 5);
  const caches = cacheInputs(later, config, { rows: first, lead });
  later.output("hidden", decoder(later, config, { x: rest, start: first, caches }).hidden);
  const given = new Map([...results, ["x", x]] as [string, Float32Array][]);
  return runFloat(later, { weights, inputs: given, kernels: floatReference }).get("hidden")!;
}

const near = (got: Float32Array, wanted: Float32Array) => {
  expect(got).toHaveLength(wanted.length);
  for (const [i, value] of wanted.entries()) {
    expect(Math.abs(got[i]! - value)).toBeLessThan(1e-4 * Math.max(1, Math.abs(value)));
  }
};

describe.each(presetNames)("the preset %s", (name) => {
  const config = studentPreset(ordinary, name);

  it("is a config that a folder may hold, and stays the same when it is applied again", () => {
    expect(parseConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
    expect(applyPreset(config, name)).toEqual(config);
    expect(config.recipe).toBe(name);
    expect(config.generation.anchor).toBe(config.nextToken === "lookup" ? 1 : 0);
  });

  it("gives the same states for texts together, alone, and row by row", () => {
    const size = 5 * config.hiddenSize;
    const x = someValues(2 * size);
    const together = states(config, x, [2], false);
    expect(together.every(Number.isFinite)).toBe(true);
    for (const text of [0, 1]) {
      const own = x.slice(text * size, (text + 1) * size);
      const alone = states(config, own, [], false);
      near(together.slice(text * size, (text + 1) * size), alone);
      near(states(config, own, [], true), alone.slice(3 * config.hiddenSize));
    }
    const behind = 3 * config.hiddenSize;
    const rows = states(config, x, [2], true);
    near(rows.slice(0, size - behind), together.slice(behind, size));
  });
});

describe("presets of one module", () => {
  it("differ from each other where their systems' functions do", () => {
    const x = someValues(5 * ordinary.hiddenSize);
    const texts = transformers.map((name) => [
      name,
      states(applyPreset(ordinary, name), x, [], false),
    ]);
    const same = (one: string, other: string) =>
      String(Object.fromEntries(texts)[one]) === String(Object.fromEntries(texts)[other]);
    expect(same("vanilla", "iron")).toBe(true);
    expect(same("vanilla", "merge-er")).toBe(true);
    const different = transformers.filter((name) => !["iron", "merge-er"].includes(name));
    for (const one of different) {
      for (const other of different)
        expect(same(one, other), `${one} ${other}`).toBe(one === other);
    }
  });

  it("ask for the same weights, but for THE-X's net", () => {
    const names = (config: ModelConfig) => [...weightShapes(config).keys()];
    for (const name of transformers) {
      const extra = names(applyPreset(ordinary, name)).filter(
        (each) => !names(ordinary).includes(each),
      );
      expect(extra.length).toBe(name === "the-x" ? 6 * ordinary.layerCount : 0);
      expect(extra.every((each) => reciprocalStart(ordinary, each) !== undefined)).toBe(true);
    }
    expect(names(applyPreset(mergedConfig, "merge-mm"))).toEqual(names(mergedConfig));
  });

  it("leave out what was measured or proven of other parts", () => {
    const logitBound = { proven: 9, calibrated: 3 };
    const bounded = { ...mergedConfig, logitBound };
    expect(applyPreset(bounded, "merge-mm").logitBound).toEqual(logitBound);
    expect(applyPreset({ ...ordinary, logitBound }, "puma").logitBound).toBeUndefined();
    expect(applyPreset({ ...ordinary, logitBound }, "iron").logitBound).toEqual(logitBound);
    // States that are sent again are other inputs than an ordinary decoder's embeddings.
    expect(applyPreset({ ...ordinary, logitBound }, "merge-er").logitBound).toBeUndefined();
  });

  it("keep a backbone's own activation and norm, and bring them back", () => {
    expect(applyPreset(ordinary, "merge-er").activation).toEqual(ordinary.activation);
    const back = applyPreset(applyPreset(ordinary, "the-x"), "iron");
    expect(back.norm).toEqual(ordinary.norm);
    expect(applyPreset(applyPreset(ordinary, "puma"), "vanilla").activation.kind).toBe("gelu");
  });
});

describe("refusals", () => {
  it("of an unknown name, of weights of the other module, of a SiLU that nobody approximates", () => {
    expect(errorOf("E_CONFIG", () => applyPreset(ordinary, "toString")).message).toContain("puma");
    for (const name of ["merge", "merge-mm"]) {
      expect(errorOf("E_CONFIG", () => applyPreset(ordinary, name)).message).toContain("adapt");
    }
    errorOf("E_CONFIG", () => applyPreset(mergedConfig, "merge-er"));
    errorOf("E_CONFIG", () => studentPreset(mergedConfig, "puma"));
    const silu = {
      ...ordinary,
      activation: { kind: "piecewise", name: "puma", of: "silu" } as const,
    };
    errorOf("E_CONFIG", () => applyPreset(silu, "bolt"));
    errorOf("E_CONFIG", () => applyPreset(silu, "vanilla"));
    expect(applyPreset(silu, "puma").activation).toEqual(silu.activation);
  });

  it("norms without a scale become affine ones of nothing: it is in what reads them", () => {
    const bare = { ...ordinary, norm: { kind: "layernorm", eps: 0, scale: false } as const };
    expect(applyPreset(bare, "the-x").norm).toEqual({ kind: "affine", eps: 0, scale: false });
    expect(applyPreset(ordinary, "the-x").norm.scale).toBe(true);
  });
});

describe("THE-X's net at the start", () => {
  it("is near the reciprocal of what its knots span", () => {
    const config = applyPreset(ordinary, "the-x");
    const weight = (part: string) => reciprocalStart(config, `l.attention.reciprocal.${part}`)!;
    const estimate = (s: number) => {
      const first = weight("0.bias").map((knot, i) =>
        Math.max(0, weight("0.weight")[i]! * s + knot),
      );
      return first.reduce(
        (sum, value, i) => sum + value * weight("2.weight")[i]!,
        weight("2.bias")[0]!,
      );
    };
    for (let s = 0.5; s < 8 * config.positionCount; s *= 1.1) {
      expect(estimate(s) * s).toBeGreaterThan(0.99);
      expect(estimate(s) * s).toBeLessThan(1.2);
    }
    expect(estimate(1e5)).toBeCloseTo(1 / (8 * config.positionCount), 4);
    expect(reciprocalStart(config, "layers.0.u.weight")).toBeUndefined();
  });
});
