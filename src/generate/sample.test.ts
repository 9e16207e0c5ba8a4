import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { createSampler, greedy, Random, type SampleOptions } from "./sample.ts";

describe("the generator", () => {
  it("gives the published values of xoshiro128**", () => {
    const random = new Random(Uint32Array.of(1, 2, 3, 4));
    const words = Array.from({ length: 10 }, () => random.word());
    expect(words).toEqual([
      11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597,
      4258142804,
    ]);
  });

  it("spreads a seed as SplitMix64 does", () => {
    // Of seed 0: 0xe220a8397b1dcdaf, 0x6e789e6aa1b965f4, low word first.
    const state = Uint32Array.of(0x7b1dcdaf, 0xe220a839, 0xa1b965f4, 0x6e789e6a);
    const expected = new Random(state);
    const random = Random.fromSeed(0);
    for (let i = 0; i < 20; i++) expect(random.word()).toBe(expected.word());
  });

  it("is even over [0, 1)", () => {
    const random = Random.fromSeed(1);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 100_000; i++) {
      const value = random.uniform();
      expect(value >= 0 && value < 1).toBe(true);
      counts[Math.floor(value * 10)]++;
    }
    // Six standard deviations of a binomial count, sqrt(1e5 * 0.1 * 0.9) = 95.
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(570);
  });

  it("needs a state", () => {
    errorOf("E_USAGE", () => new Random(new Uint32Array(4)));
    errorOf("E_USAGE", () => new Random(new Uint32Array(3).fill(1)));
  });
});

const logitList = fc.array(fc.integer({ min: -8, max: 8 }), { minLength: 1, maxLength: 20 });

describe("picking", () => {
  it("takes the lowest id of the greatest logits by default", () => {
    expect(greedy([1, 3, 3, 2])).toBe(1);
    expect(createSampler().pick(Float32Array.of(-2, -1, -1))).toBe(1);
    expect(createSampler({ topK: 1, temperature: 1 }).pick([0, 5, 5])).toBe(1);
  });

  it("is repeated by its seed", () => {
    const picks = (seed: number) => {
      const sampler = createSampler({ temperature: 1, seed });
      return Array.from({ length: 50 }, () => sampler.pick([0, 0, 0, 0, 0, 0, 0, 0]));
    };
    expect(picks(7)).toEqual(picks(7));
    expect(picks(7)).not.toEqual(picks(8));
  });

  it("differs from sampler to sampler without a seed", () => {
    const logits = new Array<number>(1 << 16).fill(0);
    const picks = [0, 1, 2, 3].map(() => createSampler({ temperature: 1 }).pick(logits));
    expect(new Set(picks).size).toBeGreaterThan(1);
  });

  it.each([0.5, 1, 2])("follows the softmax at temperature %d", (temperature) => {
    const logits = [0, 1, 2, -1];
    const odds = logits.map((logit) => Math.exp(logit / temperature));
    const total = odds.reduce((sum, odd) => sum + odd, 0);
    const counts = frequencies(logits, { temperature, seed: 3 }, 20_000);
    logits.forEach((_, id) => {
      const share = odds[id] / total;
      const deviation = Math.sqrt(20_000 * share * (1 - share));
      expect(Math.abs(counts[id] - 20_000 * share)).toBeLessThan(6 * deviation);
    });
  });

  it("keeps to the k greatest", () => {
    fc.assert(
      fc.property(logitList, fc.integer({ min: 1, max: 25 }), fc.nat(), (logits, topK, seed) => {
        const order = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);
        const picked = createSampler({ temperature: 2, topK, seed }).pick(logits);
        expect(order.slice(0, topK)).toContain(picked);
      }),
    );
  });

  it("keeps to the fewest that make up topP", () => {
    const logits = [0.1, 0.4, 0.2, 0.3].map(Math.log);
    const allowed = (topP: number, topK = 0) => {
      const counts = frequencies(logits, { temperature: 1, topP, topK, seed: 5 }, 500);
      return counts.flatMap((count, id) => (count > 0 ? [id] : []));
    };
    expect(allowed(0.01)).toEqual([1]);
    expect(allowed(0.39)).toEqual([1]);
    expect(allowed(0.41)).toEqual([1, 3]);
    expect(allowed(0.75)).toEqual([1, 2, 3]);
    expect(allowed(1)).toEqual([0, 1, 2, 3]);
    // Of the two greatest, 4/7 and 3/7.
    expect(allowed(0.55, 2)).toEqual([1]);
    expect(allowed(0.6, 2)).toEqual([1, 3]);
  });

  it("is greedy at temperatures near 0", () => {
    for (const temperature of [1e-9, 5e-324]) {
      expect(createSampler({ temperature }).pick([1, 2, 1.999, -1e30])).toBe(1);
    }
  });

  it("takes any logits that are numbers and rejects others", () => {
    fc.assert(
      fc.property(
        logitList,
        fc.double({ min: 0, max: 100, noNaN: true }),
        (logits, temperature) => {
          const id = createSampler({ temperature, topP: 0.9 }).pick(logits);
          expect(Number.isInteger(id) && id >= 0 && id < logits.length).toBe(true);
        },
      ),
    );
    errorOf("E_SHAPE", () => greedy([]));
    errorOf("E_RANGE", () => createSampler({ temperature: 1 }).pick([0, NaN]));
    errorOf("E_RANGE", () => greedy([Infinity]));
  });

  const wrong: [key: string, options: object, what: string][] = [
    ["temperature", { temperature: -1 }, "expected number to be >=0"],
    ["temperature", { temperature: NaN }, "expected number, received NaN"],
    ["topK", { topK: 1.5 }, "expected int, received number"],
    ["topP", { topP: 0 }, "expected number to be >0"],
    ["topP", { topP: 1.1 }, "expected number to be <=1"],
    ["seed", { seed: -1 }, "expected number to be >=0"],
    ["seed", { seed: 2 ** 60 }, "expected int to be <=9007199254740991"],
    ["beams", { beams: 2 }, "Unrecognized key"],
  ];
  it.each(wrong)("rejects a bad %s", (key, options, what) => {
    const { message } = errorOf("E_USAGE", () => createSampler(options));
    expect(message).toContain(key);
    expect(message).toContain(what);
  });
});

function frequencies(logits: number[], options: SampleOptions, runs: number): number[] {
  const sampler = createSampler(options);
  const counts = new Array<number>(logits.length).fill(0);
  for (let i = 0; i < runs; i++) counts[sampler.pick(logits)]++;
  return counts;
}
