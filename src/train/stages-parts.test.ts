import { describe, expect, it } from "vitest";
import { actsText, parseActs } from "../evaluate/acts.ts";
import { Random } from "../model/random.ts";
import { syntheticActs } from "./act-inputs.ts";
import { Batches, shardOf } from "./batches.ts";
import { parseTrainConfig } from "./config.ts";
import { fracBitsFor, roundToGrid } from "./export.ts";
import { learningRate } from "./optimizer.ts";
import { slotValues, syntheticInputs } from "./prompts.ts";
import { phaseAt, splitRows } from "./student-phases.ts";

describe("batches", () => {
  const lengths = Int32Array.from({ length: 50 }, (_, i) => 1 + (i % 10));
  const plan = { buckets: [4, 8], size: 4, seed: 1 };

  it("take every item at most once an epoch, from one bucket, and leave out long ones", () => {
    const batches = new Batches(lengths, plan);
    const seen: number[] = [];
    for (let step = 0; step < batches.perEpoch; step++) {
      const { items, length } = batches.at(step);
      expect(items).toHaveLength(4);
      for (const item of items) {
        expect(lengths[item]).toBeLessThanOrEqual(length);
        if (length === 8) expect(lengths[item]).toBeGreaterThan(4);
      }
      seen.push(...items);
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen).toHaveLength(40);
  });

  it("depend on seed and step alone", () => {
    const steps = [0, 25, 3, 12, 25];
    const one = new Batches(lengths, plan);
    for (const step of steps) {
      expect(new Batches(lengths, plan).at(step)).toEqual(one.at(step));
    }
    const order = (seed: number) => {
      const batches = new Batches(lengths, { ...plan, seed });
      return Array.from({ length: 10 }, (_, step) => [...batches.at(step).items]);
    };
    expect(order(2)).not.toEqual(order(1));
  });

  it("split into equal parts", () => {
    const batch = new Batches(lengths, plan).at(0);
    const parts = [0, 1].flatMap((index) => [...shardOf(batch, { index, count: 2 }).items]);
    expect(parts).toEqual([...batch.items]);
  });
});

describe("the schedule", () => {
  it("rises to the peak and falls to its share", () => {
    const schedule = { rate: 2, warmupSteps: 10, finalShare: 0.1, steps: 110 };
    expect(learningRate(schedule, 0)).toBeCloseTo(0.2);
    expect(learningRate(schedule, 10)).toBeCloseTo(2);
    expect(learningRate(schedule, 60)).toBeCloseTo(1.1);
    expect(learningRate(schedule, 110)).toBeCloseTo(0.2);
  });

  it("phases follow each other by share", () => {
    const phases = [1, 3].map((share) => ({ share, parts: [] }));
    expect(phaseAt(phases, 0.1)).toMatchObject({ index: 0, progress: 0.4 });
    expect(phaseAt(phases, 0.25)).toMatchObject({ index: 1, progress: 0 });
    expect(phaseAt(phases, 1)).toMatchObject({ index: 1, progress: 1 });
  });

  it("rows are split by share, none left over", () => {
    expect(splitRows([{ rows: 0.3 }, { rows: 0.7 }], 64)).toEqual([19, 45]);
    expect(() => splitRows([{ rows: 1 }, { rows: 99 }], 8)).toThrow("too small");
  });
});

describe("export", () => {
  it("takes the most bits that fit int16 and rounds onto the grid", () => {
    expect(fracBitsFor(Float32Array.of(0.1, -0.99), 15)).toBe(15);
    expect(fracBitsFor(Float32Array.of(1), 15)).toBe(14);
    expect(fracBitsFor(Float32Array.of(32767 / 2 ** 12), 15)).toBe(12);
    expect(fracBitsFor(Float32Array.of(-70000), 15)).toBe(-2);
    const data = Float32Array.from({ length: 100 }, (_, i) => 3 * Math.sin(i));
    const weights = new Map([["w", { shape: [100], data }]]);
    const { config, weights: rounded } = roundToGrid({ config: {} as never, weights });
    const scale = 2 ** config.weightFracBits!.w;
    for (const [i, value] of rounded.get("w")!.data.entries()) {
      expect(Number.isInteger(value * scale)).toBe(true);
      expect(Math.abs(value * scale)).toBeLessThanOrEqual(32767);
      expect(Math.abs(value - data[i])).toBeLessThanOrEqual(0.5 / scale);
    }
  });
});

describe("synthetic inputs", () => {
  const layout = {
    kind: "slots" as const,
    slots: ["name", "food", "area"].map((name) => ({ name, width: 1 })),
  };
  const inputs = ["name[A], food[x], area[p]", "name[B], food[y]", "name[C], area[q]"];

  it("recombine values, without known inputs or repetitions", () => {
    const known = ["name[A], food[y]"];
    const made = syntheticInputs(inputs, { layout, known, count: 8, seed: 1 });
    expect(made).toHaveLength(8);
    expect(new Set([...made, ...inputs, ...known]).size).toBe(12);
    expect(
      slotValues(made, layout)
        .get("food")!
        .every((food) => "xy".includes(food)),
    ).toBe(true);
    expect(syntheticInputs(inputs, { layout, known, count: 8, seed: 1 })).toEqual(made);
  });

  it("are fewer than asked for when there are no more combinations", () => {
    const made = syntheticInputs(inputs, { layout, known: [], count: 1000, seed: 1 });
    expect(made.length).toBeLessThan(30);
  });
});

describe("the configuration", () => {
  const tokenizer = { stage: "tokenizer", out: "somewhere" };

  it("has defaults and takes overrides with dotted keys", () => {
    const overrides = ["vocabSize=900", "out=else where", 'isolatedSlots=["a"]'];
    const config = parseTrainConfig(tokenizer, { overrides });
    expect(config).toMatchObject({ vocabSize: 900, out: "else where", isolatedSlots: ["a"] });
    expect(config).toMatchObject({ seed: 1 });
  });

  it("refuses unknown keys and bad values, naming the key", () => {
    const parse = (...overrides: string[]) => parseTrainConfig(tokenizer, { overrides });
    expect(() => parse("vocabulary=3")).toThrow("vocabulary");
    expect(() => parse("vocabSize=-1")).toThrow("vocabSize");
    expect(() => parse("model.size=1")).toThrow("no model");
    expect(() => parse("vocabSize")).toThrow("key=value");
    expect(() => parseTrainConfig({ stage: "none" })).toThrow("stage");
    expect(() => parse("__proto__.x=1")).toThrow("__proto__");
  });
});

describe("random numbers", () => {
  it("are fixed by their seeds, uniform and normal enough", () => {
    const random = new Random(1, 2);
    const first = [random.word(), random.word()];
    const again = new Random(1, 2);
    expect([again.word(), again.word()]).toEqual(first);
    expect(new Random(2, 1).word()).not.toBe(first[0]);
    const normals = Float64Array.from({ length: 20000 }, () => random.normal());
    const mean = normals.reduce((sum, x) => sum + x, 0) / normals.length;
    const variance = normals.reduce((sum, x) => sum + x * x, 0) / normals.length;
    // Five standard errors.
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(20000));
    expect(Math.abs(variance - 1)).toBeLessThan(5 * Math.sqrt(2 / 20000));
    const order = random.shuffle(Int32Array.from({ length: 100 }, (_, i) => i));
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });
});

describe("made-up dialogue acts", () => {
  const inputs = [
    "Hotel-Inform(Area=east, Stars=4, Internet)",
    "Hotel-Inform(Area=old town, west side, Stars=2)",
    "Booking-Request(Day=?)",
    "general-bye()",
    "off=cut); general-bye()",
  ];
  const known = ["Hotel-Inform(Area=east, Stars=2)"];
  const made = syntheticActs(inputs, { known, count: 20, seed: 1 });

  it("put acts together, with values of the same slots", () => {
    expect(made).toHaveLength(20);
    expect(new Set([...made, ...inputs, ...known]).size).toBe(26);
    const acts = made.map(parseActs);
    expect(Math.max(...acts.map(({ length }) => length))).toBeGreaterThan(1);
    const slots = acts.flat().flatMap((act) => act.slots);
    const values = (name: string) =>
      new Set(slots.filter((slot) => slot.name === name).map(({ value }) => value));
    expect(values("Area")).toEqual(new Set(["east", "old town, west side"]));
    expect(values("Internet")).toEqual(new Set([undefined]));
    expect(values("Day")).toEqual(new Set(["?"]));
  });

  it("depend on the seed alone, and are read as they are written", () => {
    expect(syntheticActs(inputs, { known, count: 20, seed: 1 })).toEqual(made);
    expect(syntheticActs(inputs, { known, count: 20, seed: 2 })).not.toEqual(made);
    for (const input of made) expect(actsText(parseActs(input))).toBe(input);
  });

  it("are fewer than asked for when there are no more, and need acts", () => {
    expect(syntheticActs(inputs, { known, count: 1000, seed: 1 }).length).toBeLessThan(200);
    expect(() => syntheticActs(["a text"], { known, count: 1, seed: 1 })).toThrow("dialogue acts");
  });
});
