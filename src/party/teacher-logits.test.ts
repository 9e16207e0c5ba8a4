// The trained decoder of this repository: what the secure modes compute of it, against its float
// run. Made-up weights and tokens do not leave the ranges that were seen of them; texts do.

import { expect, it } from "vitest";
import { schedule } from "../generate/schedule.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { loadModel } from "../model/checkpoint.ts";
import { encodePrompt } from "../model/prompt.ts";
import { ServerTensors } from "../plan/tensors.ts";
import { Ring } from "../ring/ring.ts";
import { runFixed } from "../run/fixed.ts";
import { FloatDecoder } from "./float-decoder.ts";
import { generationOptions, IDS, LOGITS, planGeneration, realLogits } from "./plan.ts";
import { servable } from "./servable.ts";

const TOKENS = 10;
/** What the logits of GPT-2's shape keep to as well. */
const LIMIT = 0.02;
const inputs = [
  "name[The Eagle], eatType[coffee shop], food[French], priceRange[cheap], area[riverside]",
  "name[Alimentum], food[Chinese], customer rating[5 out of 5], familyFriendly[yes]",
  "name[The Golden Curry], eatType[pub], area[city centre], near[Burger King]",
  "name[Blue Spice]",
];

const float = await loadFloatKernels();
const kernels = await loadRingKernels();
const model = servable(await loadModel("models/e2e-teacher"), float);
const { config, weights, tokenizer } = model;

const indexOfGreatest = (values: Float32Array | Float64Array) =>
  values.indexOf(Math.max(...values) as never);

/** The greatest less the second one. */
function marginOf(values: Float32Array): number {
  const [second, first] = values.toSorted().slice(-2);
  return first! - second!;
}

it("has logits within 0.02 of the float run's on texts, and the same clear tokens", async () => {
  const ids = inputs.map((input) => encodePrompt(input, config, tokenizer));
  const options = generationOptions(config, ids[0]!.length, {
    maxTokens: TOKENS,
    anchor: 1,
    chunk: 1,
  });
  const plan = await planGeneration(config, options);
  const tensors = new ServerTensors({ kernels, weights, numbers: config, tensors: plan.tensors });
  const ring = new Ring(kernels);
  const decoder = new FloatDecoder(config, weights, float);
  for (const prompt of ids) {
    decoder.begin();
    const tokens: number[] = [];
    const found: Float32Array[] = [];
    for (const segment of schedule(options)) {
      const own = segment.kind === "prompt" ? prompt : [tokens.at(-1)!];
      const logits = decoder.run(segment, segment.kind === "head" ? undefined : own);
      if (!logits) continue;
      found.push(logits.slice());
      tokens.push(indexOfGreatest(logits));
    }
    const states = new Map();
    for (const segment of plan.segments) {
      const { segment: of } = segment;
      // Every layer of a prompt is a segment; its first one takes the tokens in.
      const isFirst = of.kind === "prompt" && (of.layers?.[0] ?? 0) === 0;
      const own = isFirst
        ? prompt.slice(of.start, of.start + of.rows)
        : of.kind === "step"
          ? [tokens[of.index - 1]!]
          : undefined;
      const ids = new Map(own ? [[IDS, own]] : []);
      const run = { ring, segment, states, tensors, parties: undefined, ids };
      const logits = runFixed(run).get(LOGITS);
      if (!logits) continue;
      const fixed = realLogits(plan, logits);
      const expected = found.shift()!;
      const worst = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - fixed[i]!)), 0);
      expect(worst).toBeLessThan(LIMIT);
      if (marginOf(expected) > 2 * LIMIT) {
        expect(indexOfGreatest(fixed)).toBe(indexOfGreatest(expected));
      }
    }
    expect(found).toHaveLength(0);
  }
});
