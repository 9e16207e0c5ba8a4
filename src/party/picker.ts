// From logits to text, in the clear: what the client does with what it learns, in every mode.

import { ensure } from "../errors.ts";
import { createSampler, type SampleOptions, type Sampler } from "../generate/sample.ts";
import type { Segment } from "../generate/schedule.ts";
import type { ModelConfig } from "../model/config.ts";
import { TextStream, type Tokenizer } from "../model/tokenizer.ts";
import { TOKENS } from "../plan/next-token.ts";
import { LOGITS, type Plan, realLogits } from "./plan.ts";

export interface PickerOptions {
  /** Go on past the end token. */
  readonly ignoreEnd?: boolean | undefined;
  /** Default greedy. */
  readonly sampling?: SampleOptions | undefined;
  /** Called with each piece of text as it becomes known. */
  readonly onText?: ((piece: string) => void) | undefined;
}

/** What C has learnt in a segment, by name. */
export interface Shown {
  readonly logits: ReadonlyMap<string, Int32Array>;
  readonly revealed: ReadonlyMap<string, Int32Array>;
}

/** Turns logits of successive states into tokens and text, and knows when to stop. */
export class Picker {
  readonly tokens: number[] = [];
  /** Whether the end token was picked. */
  ended = false;
  readonly #options: PickerOptions;
  readonly #config: ModelConfig;
  readonly #stream: TextStream;
  readonly #sampler: Sampler;
  #text = "";

  constructor(config: ModelConfig, tokenizer: Tokenizer, options: PickerOptions) {
    this.#options = options;
    this.#config = config;
    this.#stream = new TextStream(tokenizer);
    this.#sampler = createSampler(options.sampling ?? {});
  }

  /** Picks a token from each row of logits, [rows, vocabulary], until the end token. */
  pick(logits: Float32Array): void {
    const { vocabSize } = this.#config;
    for (let at = 0; at < logits.length && !this.ended; at += vocabSize) {
      this.#take(this.#sampler.pick(logits.subarray(at, at + vocabSize)));
    }
  }

  /**
   * Takes what a head has shown: tokens, or logits to pick them from. A segment that is no head
   * has shown nothing.
   */
  takeShown(plan: Plan, shown: Shown): void {
    const tokens = shown.revealed.get(TOKENS);
    const logits = shown.logits.get(LOGITS);
    if (logits) this.pick(realLogits(plan, logits));
    for (const token of tokens ?? []) {
      ensure(token < this.#config.vocabSize, "E_PROTOCOL", "a token exceeds the vocabulary");
      if (!this.ended) this.#take(token);
    }
  }

  #take(token: number): void {
    if (token === this.#config.tokens.end && !this.#options.ignoreEnd) {
      this.ended = true;
    } else {
      this.tokens.push(token);
      this.#emit(this.#stream.push(token));
    }
  }

  /** The whole text; what the stream had held back comes out first. */
  finish(): string {
    this.#emit(this.#stream.end());
    return this.#text;
  }

  #emit(piece: string): void {
    this.#text += piece;
    if (piece !== "") this.#options.onText?.(piece);
  }
}

/** The ids of a segment, where it takes any: the client's, or found by whoever looks them up. */
export function privateIds(
  segment: Segment,
  prompt: readonly number[],
  tokens: readonly number[],
): readonly number[] | undefined {
  if (segment.kind === "prompt") {
    const first = (segment.layers?.[0] ?? 0) === 0;
    return first ? prompt.slice(segment.start, segment.start + segment.rows) : undefined;
  }
  if (segment.kind !== "step" || segment.source === "resend") return undefined;
  return [tokens[segment.index - 1]!];
}
