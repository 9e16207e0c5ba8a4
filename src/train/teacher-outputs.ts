// A teacher's greedy texts, which a student learns in the place of human ones (sequence-level
// distillation, Kim and Rush 2016).

import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { BatchGenerator } from "./generate.ts";
import type { Log } from "./trainer.ts";

/** The output of each prompt, its end token included; undefined where it has come to no end. */
export function teacherOutputs(
  { config, weights }: Pick<Model, "config" | "weights">,
  prompts: readonly (readonly number[])[],
  { kernels, log, batchSize }: { kernels: FloatKernels; log: Log; batchSize: number },
): (number[] | undefined)[] {
  const generator = new BatchGenerator(config, kernels);
  const values = new Map([...weights].map(([name, { data }]) => [name, data]));
  const results: (number[] | undefined)[] = new Array(prompts.length).fill(undefined);
  const began = performance.now();
  const resends = config.nextToken === "resend" && config.generation.anchor === 0;
  let done = 0;
  for (const [promptLength, places] of byLength(prompts)) {
    for (let from = 0; from < places.length; from += batchSize) {
      const batch = places.slice(from, from + batchSize);
      const outputs = generator.generate(values, {
        prompts: Int32Array.from(batch.flatMap((place) => prompts[place])),
        promptLength,
        maxTokens: config.generation.maxTokens,
        nextToken: resends ? "resend" : "lookup",
        batchSize,
      });
      for (const [index, output] of outputs.entries()) {
        if (output.at(-1) === config.tokens.end) results[batch[index]] = output;
      }
      done += batch.length;
      log(`${done}/${prompts.length}, ${((performance.now() - began) / 1000).toFixed(0)} s`);
    }
  }
  return results;
}

/** Places of the prompts of each length. */
function byLength(prompts: readonly (readonly number[])[]): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  for (const [place, { length }] of prompts.entries()) {
    const group = groups.get(length);
    if (group) group.push(place);
    else groups.set(length, [place]);
  }
  return groups;
}
