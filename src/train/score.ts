// Scores a model's greedy texts in float on development inputs, from weights in memory.

import type { Example } from "../evaluate/data.ts";
import { nameCoverage } from "../evaluate/names.ts";
import { corpusRougeL } from "../evaluate/rouge.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { encodePrompt } from "../model/prompt.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import type { FloatWeights } from "../run/float.ts";
import { BatchGenerator } from "./generate.ts";

export interface Score {
  readonly rougeL: number;
  /** Share of outputs that hold the input's name. */
  readonly names: number;
  /** Share of outputs that come to an end. */
  readonly ended: number;
  readonly meanTokens: number;
  readonly texts: readonly string[];
}

export class Scorer {
  readonly #config: ModelConfig;
  readonly #tokenizer: Tokenizer;
  readonly #generator: BatchGenerator;
  readonly #examples: readonly Example[];
  readonly #prompts: Int32Array;
  readonly #batchSize: number;

  constructor(
    model: { config: ModelConfig; tokenizer: Tokenizer },
    examples: readonly Example[],
    { kernels, batchSize }: { kernels: FloatKernels; batchSize: number },
  ) {
    this.#config = model.config;
    this.#tokenizer = model.tokenizer;
    this.#generator = new BatchGenerator(model.config, kernels);
    this.#examples = examples;
    this.#batchSize = batchSize;
    const ids = examples.flatMap(({ input }) => encodePrompt(input, model.config, model.tokenizer));
    this.#prompts = Int32Array.from(ids);
  }

  score(weights: FloatWeights, nextToken: "lookup" | "resend"): Score {
    const { end } = this.#config.tokens;
    const outputs = this.#generator.generate(weights, {
      prompts: this.#prompts,
      promptLength: this.#prompts.length / this.#examples.length,
      maxTokens: this.#config.generation.maxTokens,
      nextToken,
      batchSize: this.#batchSize,
    });
    const texts = outputs.map((ids) => this.#tokenizer.decode(ids).trim());
    const references = this.#examples.map(({ refs }) => refs);
    const pairs = texts.map((output, index) => ({ input: this.#examples[index].input, output }));
    return {
      rougeL: corpusRougeL(texts, references),
      names: nameCoverage(pairs).share,
      ended: outputs.filter((ids) => ids.at(-1) === end).length / outputs.length,
      meanTokens: outputs.reduce((sum, ids) => sum + ids.length, 0) / outputs.length,
      texts,
    };
  }
}

export function scoreLine(name: string, score: Score): string {
  const { rougeL, names, ended, meanTokens } = score;
  const shares = `names ${names.toFixed(3)}, ended ${ended.toFixed(3)}`;
  return `${name} ROUGE-L ${rougeL.toFixed(4)}, ${shares}, ${meanTokens.toFixed(1)} tokens`;
}
