// What a student learns when: phases of a run, each a mixture of parts of every batch.

import { ensure, MergenError } from "../errors.ts";

/** Some rows of every batch, trained in one way. */
export interface StudentPart {
  readonly kind: "real" | "resent" | "rollout" | "own";
  /** Share of the batch's rows, relative to the other parts of the phase. */
  readonly rows: number;
  /** Weight of the cross entropy of the next token; times the rows' share in the whole loss. */
  readonly ce: number;
  /** Weight of 1 - cos between a state and the embedding of the next token. */
  readonly align: number;
  /** Weight of the divergence from the teacher's logits on the same text (soft labels). */
  readonly soft: number;
  /** Weight of the distance from the teacher's hidden states on the same text. */
  readonly hidden: number;
  /** Number of parallel passes on re-sent states (resent). */
  readonly passes: number;
  /** Probability of a re-sent input per position, at the phase's first and last step. */
  readonly probability: readonly [number, number];
}

export interface StudentPhase {
  /** Part of all steps that it lasts. */
  readonly share: number;
  readonly parts: readonly StudentPart[];
}

export interface StudentOptions {
  readonly phases: readonly StudentPhase[];
  /** Weight of labels behind the end token. */
  readonly tailWeight: number;
  readonly smoothing: number;
  /** Uniform noise of this half-width on the embeddings of given tokens. */
  readonly noise: number;
  /** Share of elements dropped there. */
  readonly dropout: number;
  /** By which logits are divided where a part has `soft`. */
  readonly temperature: number;
  /** Distance of hidden states where a part has `hidden`: of a row, mean of squares or 1 - cos. */
  readonly hiddenLoss: "squared" | "cosine";
  /**
   * Layers, from 0, whose results are matched with those of the teacher's layers of the same
   * number. The last one's is the state that the head reads, behind the teacher's last norm; the
   * other ones' are what the next block takes.
   */
  readonly hiddenLayers: "last" | "all" | readonly number[];
}

/** Whether any part of some phases is held to a teacher's logits or states. */
export function phasesAsk(phases: readonly StudentPhase[]): boolean {
  return phases.some(({ parts }) => parts.some(({ soft, hidden }) => soft > 0 || hidden > 0));
}

/** The layers that a phase matches with the teacher's, -1 the last; none where no part asks. */
export function matchedLayers(
  { parts }: StudentPhase,
  { hiddenLayers }: Pick<StudentOptions, "hiddenLayers">,
  layerCount: number,
): readonly number[] {
  if (parts.every(({ hidden }) => hidden === 0)) return [];
  if (hiddenLayers === "last") return [-1];
  if (hiddenLayers === "all") return Array.from({ length: layerCount }, (_, layer) => layer);
  return hiddenLayers;
}

/** The phase that a share of all steps falls into, and how far into it. */
export function phaseAt(phases: readonly StudentPhase[], at: number) {
  const total = phases.reduce((sum, { share }) => sum + share, 0);
  let from = 0;
  for (const [index, phase] of phases.entries()) {
    const to = from + phase.share / total;
    if (at < to || index === phases.length - 1) {
      return { phase, index, progress: (at - from) / (to - from) };
    }
    from = to;
  }
  throw new MergenError("E_CONFIG", "the student has no phases");
}

/** Whole rows by share; the last part takes what is left. */
export function splitRows(parts: readonly { rows: number }[], total: number): number[] {
  const sum = parts.reduce((all, { rows }) => all + rows, 0);
  const counts = parts.map(({ rows }) => Math.round((rows / sum) * total));
  const others = counts.slice(0, -1).reduce((all, count) => all + count, 0);
  counts[counts.length - 1] = total - others;
  const fits = counts.every((count) => count > 0);
  ensure(fits, "E_CONFIG", "a batch is too small for the parts of a phase");
  return counts;
}
