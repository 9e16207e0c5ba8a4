// A model in the secure modes' form: ready ones are left alone, others compute what they did.

import { describe, expect, it } from "vitest";
import { type DecoderOptions, decoderModel, rawDecoder } from "../../test/decoder-model.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { parseConfig } from "../model/config.ts";
import { checkRanges } from "../plan/ranges.ts";
import { randomModel } from "../train/random-model.ts";
import { FloatDecoder } from "./float-decoder.ts";
import type { LocalModel } from "./local.ts";
import { generationOptions, planGeneration } from "./plan.ts";
import { servable } from "./servable.ts";

const shapes: [name: string, options: DecoderOptions][] = [
  ["gpt2", { seed: 1, layerCount: 2 }],
  ["gpt2, a tied head", { seed: 2, tiedHead: true }],
  ["llama", { seed: 3, block: "llama", headCount: 4, kvHeadCount: 2 }],
];

/** Logits behind a prompt. */
function logitsOf({ config, weights }: LocalModel, ids: readonly number[]): Float32Array {
  const decoder = new FloatDecoder(config, weights, floatReference);
  decoder.begin();
  decoder.run({ id: 0, kind: "prompt", start: 0, rows: ids.length }, ids);
  const head = { id: 1, kind: "head", states: [0, 1] } as const;
  return decoder.run(head, undefined)!.slice();
}

describe.each(shapes)("%s", (_name, options) => {
  const ids = [40, 77, 3, 200, 9];

  it("computes the same function, but for the grid", () => {
    const before = logitsOf(rawDecoder(options), ids);
    const after = logitsOf(servable(rawDecoder(options), floatReference), ids);
    const spread = Math.max(...before) - Math.min(...before);
    before.forEach((logit, i) => {
      expect(Math.abs(logit - after[i]!)).toBeLessThan(spread / 500);
    });
  });

  it("plans, with bounds that hold of its weights", async () => {
    const { config, weights } = servable(rawDecoder(options), floatReference);
    expect(parseConfig(JSON.parse(JSON.stringify(config)))).toEqual(config);
    checkRanges(config, weights);
    expect(config.operandBits).toBeGreaterThan(12);
    await planGeneration(config, generationOptions(config, 3, {}));
  });

  it("is left alone once it is ready", () => {
    const model = decoderModel(options);
    expect(servable(model, floatReference)).toBe(model);
  });
});

it("states ranges of the texts that it is given", () => {
  const ranges = (texts: number[][] | undefined) =>
    servable(rawDecoder({ seed: 1, layerCount: 2 }), floatReference, { texts }).config.ranges!;
  const one = ranges([[40, 77, 3, 200, 9]]);
  expect(one).toEqual(ranges([[40, 77, 3, 200, 9]]));
  expect(one).not.toEqual(ranges(undefined));
  const wider = ranges([
    [40, 77, 3, 200, 9],
    [1, 2, 3, 4, 5],
  ]);
  for (const [name, { calibrated, proven }] of Object.entries(one)) {
    expect(wider[name]!.calibrated[1]).toBeGreaterThanOrEqual(calibrated[1]);
    expect(wider[name]!.proven).toBe(proven);
  }
});

it("a merged model is left alone", () => {
  const model = mergedModel({ seed: 4 });
  expect(servable(model, floatReference)).toBe(model);
});

it("stated operand bits are kept", () => {
  const model = rawDecoder({ seed: 5, operandBits: 12 });
  expect(servable(model, floatReference).config.operandBits).toBe(12);
});

describe("a model whose proven bounds do not fit", () => {
  const theX = () => {
    const options = { shape: "tiny", positions: 32, recipe: "the-x", seed: 1 } as const;
    return randomModel(options, floatReference);
  };

  it("keeps to them: its plan is refused by the wire's name and the remedy", async () => {
    const { config } = servable(theX(), floatReference);
    expect(config.calibratedBounds).toBeUndefined();
    const planned = planGeneration(config, generationOptions(config, 3, {}));
    await expect(planned).rejects.toMatchObject({
      code: "E_PLAN",
      message: expect.stringMatching(/wire layers\.\d.*allow calibrated bounds/),
    });
  });

  it("takes seen ones where that is asked for, and others keep proven ones", async () => {
    const asked = { calibratedBounds: true };
    const { config } = servable(theX(), floatReference, asked);
    expect(config.calibratedBounds).toBe(true);
    await planGeneration(config, generationOptions(config, 3, {}));
    const fitting = servable(rawDecoder({ seed: 6 }), floatReference, asked);
    expect(fitting.config.calibratedBounds).toBeUndefined();
  });
});
