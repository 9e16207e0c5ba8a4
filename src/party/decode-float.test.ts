import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { schedule } from "../generate/schedule.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { randomWeights } from "../model/random-weights.ts";
import { type ShapeOptions, shapeConfig } from "../model/shapes.ts";
import { decodeFloat } from "./decode-float.ts";
import { FloatDecoder } from "./float-decoder.ts";

// With 32 columns, caches of 64 rows and more are read by a kernel.
const tiny: ShapeOptions = { shape: "tiny", recipe: "merge", positions: 100 };
const models: [name: string, options: ShapeOptions][] = [
  ["merged, layernorm", tiny],
  ["merged, affine", { ...tiny, norm: "affine" }],
  ["ordinary", { ...tiny, recipe: "vanilla" }],
];
const native = await loadFloatKernels();

function make(options: ShapeOptions) {
  return randomWeights(shapeConfig(options), 1);
}

describe.each(models)("plaintext decoding, %s", (_name, options) => {
  const model = make(options);

  it.each(["reference", "best"])("gives what one pass over the text gives, %s kernels", (which) => {
    const kernels = which === "best" ? native : floatReference;
    const prompt = [5, 6, 7, 8];
    const decoder = new FloatDecoder(model.config, model.weights, kernels);
    const maxTokens = 97;
    const ids = Array.from({ length: maxTokens - 1 }, (_, i) => (i * 37) % 320);
    const sizes = { promptPositions: prompt.length, maxTokens, chunk: 1, anchor: 1 };
    const stepwise: Float32Array[] = [];
    for (const segment of schedule(sizes)) {
      const own = segment.kind === "step" ? [ids[segment.index - 1]!] : prompt;
      const logits = decoder.run(segment, segment.kind === "head" ? undefined : own);
      if (logits) stepwise.push(logits.slice());
    }
    for (const length of [0, 1, 40, 63, 96]) {
      const text = [...prompt, ...ids.slice(0, length)];
      const once = new FloatDecoder(model.config, model.weights, kernels);
      const whole = { promptPositions: text.length, maxTokens: 1, chunk: 1, anchor: 1 };
      const [first, last] = schedule(whole);
      once.run(first!, text);
      const expected = once.run(last!, undefined)!;
      const error = expected.map((value, i) => Math.abs(value - stepwise[length]![i]!));
      expect(Math.max(...error)).toBeLessThan(1e-5);
    }
  });

  it("counts every token", () => {
    const prompt = [1, 2, 3];
    const timing = decodeFloat(model, native, { promptTokens: 3, tokens: 9, anchor: 1, prompt });
    expect(timing.tokens).toHaveLength(9);
    expect(timing.seconds).toHaveLength(8);
    expect(Math.min(timing.promptSeconds, ...timing.seconds)).toBeGreaterThan(0);
    expect(timing.secondsPerToken).toBeLessThanOrEqual(Math.max(...timing.seconds));
    const again = decodeFloat(model, native, { promptTokens: 3, tokens: 9, anchor: 1, prompt });
    expect(again.tokens).toEqual(timing.tokens);
  });
});

describe("what does not fit", () => {
  const model = make(tiny);

  it("is refused", () => {
    const run = (sizes: Parameters<typeof decodeFloat>[2]) => () =>
      decodeFloat(model, native, sizes);
    expect(run({ promptTokens: 4, tokens: 97 })().tokens).toHaveLength(97);
    errorOf("E_PROMPT", run({ promptTokens: 4, tokens: 98 }));
    errorOf("E_PROMPT", run({ promptTokens: 4, tokens: 1, prompt: [1] }));
    errorOf("E_RANGE", run({ promptTokens: 1, tokens: 1, prompt: [320] }));
  });

  it("starts again with each prompt", () => {
    const decoder = new FloatDecoder(model.config, model.weights, native);
    const sizes = { promptPositions: 2, maxTokens: 3, chunk: 3, anchor: 0 };
    const runs = [1, 2].map(() => {
      decoder.begin();
      let logits: number[] = [];
      for (const segment of schedule(sizes)) {
        const out = decoder.run(segment, segment.kind === "prompt" ? [1, 2] : undefined);
        if (out) logits = [...out];
      }
      return logits;
    });
    expect(runs[0]).toEqual(runs[1]);
    decoder.begin();
    errorOf("E_INTERNAL", () => decoder.run(schedule(sizes)[1]!, undefined));
  });
});
