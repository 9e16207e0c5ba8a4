// What the planner refuses, and what holds for every plan that it makes.

import { describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { type MergedOptions, mergedModel } from "../../test/merged-model.ts";
import type { MergenError } from "../errors.ts";
import type { GateSpec } from "../gate/index.ts";
import { Graph } from "../graph/graph.ts";
import { type ModelConfig, parseConfig } from "../model/config.ts";
import { type GenerationOptions, type Plan, planGeneration } from "../party/plan.ts";
import { lower } from "./lower.ts";

const model = mergedModel({ seed: 2, layerCount: 2, maxTokens: 4 });
const base = model.config;
const options: GenerationOptions = { promptPositions: 4, maxTokens: 4, chunk: 2, anchor: 0 };

const plan = (changes: Partial<ModelConfig> = {}, asked: Partial<GenerationOptions> = {}) =>
  planGeneration({ ...base, ...changes }, { ...options, ...asked });
const without = (...keys: (keyof ModelConfig)[]): Partial<ModelConfig> =>
  Object.fromEntries(keys.map((key) => [key, undefined]));

/** wireBounds with one proven bound of one layer changed. */
function bounds(layer: number, wire: "u" | "o" | "variance", proven: number) {
  const wireBounds = base.wireBounds!.map((range, i) =>
    i === layer ? { ...range, [wire]: { ...range[wire], proven } } : range,
  );
  return { wireBounds };
}

describe("the planner refuses", () => {
  const coefficients = (...list: [number, number, number]) => ({
    activation: { kind: "quad", coefficients: list } as const,
  });
  const refused: [name: string, changes: Partial<ModelConfig>, names: RegExp][] = [
    ["a u that does not fit", bounds(1, "u", 1e5), /wire layers\.1\.u needs/],
    ["a variance that does not fit", bounds(0, "variance", 1e25), /wire layers\.0\.(norm|o)/],
    ["a grid too fine", { weightFracBits: grid(30) }, /wire layers\.0\.u|fractional bits/],
    ["no bounds", without("wireBounds"), /wireBounds for layer 0/],
    ["bounds of too few layers", { wireBounds: base.wireBounds!.slice(0, 1) }, /layer 1/],
    ["no bound of the logits", without("logitBound"), /logitBound/],
    [
      "logits that leave no fractional bits",
      { logitBound: { proven: 20_000, calibrated: 1 } },
      /logits/,
    ],
    ["no grid", without("weightFracBits"), /weightFracBits for embedding\.weight/],
    [
      "a grid without one tensor",
      { weightFracBits: { ...grid(12), "layers.1.o.weight": undefined as never } },
      /layers\.1\.o\.weight/,
    ],
    ["a leading coefficient that is no power of two", coefficients(0.3, 0.5, 0.2), /power of two/],
    ["a negative leading coefficient", coefficients(-0.25, 0.5, 0.2), /power of two/],
    [
      "an activation by table without its range",
      { activation: { kind: "gelu", form: "tanh" } },
      /range of layers\.0\.u/,
    ],
  ];

  function grid(bits: number) {
    return Object.fromEntries(Object.keys(base.weightFracBits!).map((name) => [name, bits]));
  }

  it.each(refused)("%s", async (_name, changes, names) => {
    expect((await rejectionOf("E_PLAN", () => plan(changes))).message).toMatch(names);
  });

  it("softmax attention", async () => {
    await rejectionOf("E_PLAN", () => plan({ attention: "softmax" }));
  });

  it("an operation of training alone, by name", () => {
    const graph = new Graph();
    const x = graph.input("x", [1, 4, 4]);
    const row = graph.input("row", [1, 4]);
    graph.output("y", x.attentionPattern(row, row));
    const names = { loads: new Map([["x", "x"]]), stores: new Map() };
    expect(() => lower(graph, base, names)).toThrow("the operation attentionPattern has no");
  });

  it.each([
    ["relu", /relu of no linear layer/],
    ["causalSoftmax", /attention weights are made of scores/],
  ] as const)("%s of what it has no gates for", (kind, names) => {
    const graph = new Graph();
    graph.output(
      "y",
      graph
        .input("x", [4, 4])
        [kind]()
        .add(graph.input("x", [4, 4])),
    );
    const loads = new Map([["x", "x"]]);
    const stores = new Map([["y", { name: "y", replaces: undefined }]]);
    expect(() => lower(graph, base, { loads, stores })).toThrow(names);
  });

  it("an activation whose bound leaves it no bits, instead of planning with none", async () => {
    const affine = mergedModel({ seed: 2, norm: "affine" }).config;
    const wireBounds = affine.wireBounds!.map((range) => ({
      ...range,
      o: { proven: 1e13, calibrated: 1e13 },
    }));
    const asked = () => planGeneration({ ...affine, wireBounds }, options);
    expect((await rejectionOf("E_PLAN", asked)).message).toContain("layers.0.o");
  });

  it("a scale after the norm", async () => {
    const { config } = mergedModel({ norm: "layernorm", scale: true });
    const { message } = await rejectionOf("E_PLAN", () => planGeneration(config, options));
    expect(message).toContain("norm.scale");
  });

  it("more tokens than the model has positions", async () => {
    await rejectionOf("E_PROMPT", () => plan({}, { maxTokens: 100 }));
  });
});

describe("calibrated bounds", () => {
  it("plan what proven bounds do not, where the config asks for them", async () => {
    const unproven = bounds(1, "u", 1e6);
    await rejectionOf("E_PLAN", () => plan(unproven));
    expect((await plan({ ...unproven, calibratedBounds: true })).segments).not.toHaveLength(0);
  });

  it("narrow no opening: what exceeds them has the whole ring, as proven bounds do not need", async () => {
    const widths = async (config: Parameters<typeof plan>[0]) =>
      (await plan(config)).segments.flatMap(({ gates }) =>
        gates.flatMap((gate) => (gate.kind === "open" ? [gate.openBits!] : [])),
      );
    const proven = bounds(1, "u", 8);
    expect(new Set(await widths({ ...proven, calibratedBounds: true }))).toEqual(new Set([64]));
    expect(Math.min(...(await widths(proven)))).toBeLessThan(64);
  });
});

describe("the digest", () => {
  /** Every number, truth value and text of a config, changed one at a time. */
  function* changed(value: unknown, path: string): Generator<[string, unknown]> {
    if (typeof value === "number") yield [path, Number.isInteger(value) ? value + 1 : value * 1.25];
    else if (typeof value === "boolean") yield [path, !value];
    else if (typeof value === "string") yield [path, `${value}x`];
    else if (Array.isArray(value)) {
      for (const [i, entry] of value.entries()) {
        for (const [where, other] of changed(entry, `${path}.${i}`)) {
          yield [where, value.map((old, j) => (i === j ? other : old))];
        }
      }
    } else if (typeof value === "object" && value !== null) {
      for (const [key, entry] of Object.entries(value)) {
        for (const [where, other] of changed(entry, `${path}.${key}`)) {
          yield [where, { ...value, [key]: other }];
        }
      }
    }
  }

  it("is the same for the same numbers", async () => {
    expect((await plan()).digest).toBe((await plan()).digest);
    expect((await plan()).digest).toMatch(/^[0-9a-f]{64}$/);
  });

  it("changes with every public number", async () => {
    const seen = new Map([[(await plan()).digest, "none"]]);
    let planned = 0;
    for (const [path, config] of changed(base, "config")) {
      const made = await Promise.resolve()
        .then(() => planGeneration(parseConfig(config), options))
        .catch((error: MergenError) => error);
      if ("code" in made) {
        expect(["E_MODEL", "E_PLAN", "E_SHAPE", "E_PROMPT"], path).toContain(made.code);
        continue;
      }
      expect(seen.get(made.digest), path).toBeUndefined();
      seen.set(made.digest, path);
      planned++;
    }
    expect(planned).toBeGreaterThan(40);
    const changes: Partial<GenerationOptions>[] = [
      { promptPositions: 5 },
      { maxTokens: 3 },
      { chunk: 3 },
      { anchor: 1 },
      { next: "lookup", reveal: "token" },
      { reveal: "token" },
    ];
    for (const asked of changes) {
      const key = JSON.stringify(asked);
      const { digest } = await plan({ positionCount: 9 }, asked);
      expect(seen.get(digest), key).toBeUndefined();
      seen.set(digest, key);
    }
  });
});

describe("every plan", () => {
  const shapes: MergedOptions[] = [
    { layerCount: 3, anchor: 1 },
    { norm: "affine", layerCount: 2, anchor: 2 },
    { residual: false, hiddenSize: 24, tiedHead: false, chunk: 1 },
  ];
  const plans = async (): Promise<Plan[]> =>
    Promise.all(
      shapes.map((shape) => {
        const { config } = mergedModel(shape);
        return planGeneration(config, { ...options, ...config.generation });
      }),
    );
  const segments = async () => (await plans()).flatMap((made) => made.segments);

  it("numbers gates in an order in which they can run", async () => {
    for (const { gates } of await segments()) {
      const written = new Set<number>();
      for (const [index, gate] of gates.entries()) {
        expect(gate.id).toBe(index);
        for (const wire of gate.inputs) expect(written.has(wire)).toBe(true);
        expect(written.has(gate.output)).toBe(false);
        written.add(gate.output);
      }
    }
  });

  it("feeds linear layers with wires under the client's mask alone", async () => {
    // A truncated wire's mask depends on an online bit: dealing for it would tell S that bit.
    const masked: GateSpec["kind"][] = ["remask", "oneHot", "load", "slice", "concat"];
    for (const { gates } of await segments()) {
      const byOutput = new Map(gates.map((gate) => [gate.output, gate]));
      for (const gate of gates) {
        if (gate.kind !== "linear" && gate.kind !== "logits") continue;
        let source = byOutput.get(gate.inputs[0]!)!;
        while (source.kind === "bias") source = byOutput.get(source.inputs[0]!)!;
        expect(masked).toContain(source.kind);
      }
    }
  });

  it("opens no wire twice", async () => {
    for (const { gates } of await segments()) {
      const opened = gates.filter(({ kind }) => kind === "open").map(({ inputs }) => inputs[0]);
      expect(new Set(opened).size).toBe(opened.length);
    }
  });

  it("never opens a state that is carried on", async () => {
    for (const { gates } of await segments()) {
      const byOutput = new Map(gates.map((gate) => [gate.output, gate]));
      for (const gate of gates) {
        if (gate.kind === "open") expect(byOutput.get(gate.inputs[0]!)!.kind).not.toBe("load");
        if (gate.kind === "store") {
          expect(byOutput.get(gate.inputs[0]!)!.kind).toMatch(/^(remask|concat|slice|load)$/);
        }
      }
    }
  });

  it("loads what an earlier segment has stored, and nothing that was replaced", async () => {
    for (const made of await plans()) {
      const states = new Set<string>();
      for (const { gates } of made.segments) {
        for (const gate of gates) {
          if (gate.kind === "load") expect(states.has(gate.name), gate.name).toBe(true);
          if (gate.kind !== "store") continue;
          states.add(gate.name);
          if (gate.replaces !== undefined) expect(states.delete(gate.replaces)).toBe(true);
        }
      }
    }
  });

  it("knows its tensors whatever the options", async () => {
    const one = await plan({}, { maxTokens: 1, promptPositions: 1, chunk: 1 });
    const sorted = ({ tensors }: Plan) => tensors.map((tensor) => JSON.stringify(tensor));
    expect(sorted(one)).toEqual(sorted(await plan({}, { anchor: 2 })));
  });
});
