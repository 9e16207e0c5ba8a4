// The part of a training configuration that describes the model; what follows from tokenizer and
// layout is added to make the config that the model folder keeps.

import { z } from "zod";
import {
  attentionSchema,
  type ModelConfig,
  parseConfig,
  promptPositions,
} from "../model/config.ts";
import { specialTokens } from "./tokenizer.ts";

/** Checked in full by parseConfig once the rest is known. */
export const modelShape = z.strictObject({
  recipe: z.string(),
  hiddenSize: z.int().positive(),
  layerCount: z.int().positive(),
  headCount: z.int().positive(),
  innerSize: z.int().positive(),
  attention: attentionSchema,
  activation: z.unknown(),
  norm: z.unknown(),
  residual: z.boolean().default(true),
  nextToken: z.enum(["lookup", "resend"]),
  tiedHead: z.boolean().default(true),
  embeddingScale: z.number().positive().optional(),
  sharedAttention: z.boolean().optional(),
  prompt: z.unknown(),
  generation: z.strictObject({
    maxTokens: z.int().positive(),
    chunk: z.int().positive(),
    anchor: z.int().nonnegative(),
  }),
});

/** The whole config of a model. @throws E_MODEL naming the key that is wrong */
export function modelConfig(shape: z.infer<typeof modelShape>, vocabSize: number): ModelConfig {
  const whole = {
    model_type: "mergen",
    ...shape,
    vocabSize,
    tokens: specialTokens,
    positionCount: 1,
  };
  const config = parseConfig(whole, "model");
  // The last token of a text is nobody's input.
  const positionCount = promptPositions(config.prompt) + config.generation.maxTokens - 1;
  return { ...config, positionCount };
}
