// Ranges of an ordinary decoder's wires on real inputs, and with the bounds that its weights prove,
// what config.json states about them.

import { schedule } from "../generate/schedule.ts";
import type { AttentionForm, Op } from "../graph/ops.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import { Random } from "../model/random.ts";
import { streamName } from "../plan/names.ts";
import { provenRanges, type SeenRanges, statedRanges } from "../plan/ranges.ts";
import { attentionWeights } from "../run/attention-weights.ts";
import type { FloatProgram } from "../run/float.ts";
import { FloatDecoder } from "./float-decoder.ts";
import { LOGITS } from "./plan.ts";

/** How far beyond the seen ranges those of other texts may lie. */
const MARGIN = 1.25;
/**
 * The same for the mean squares of norms, which are coarse beyond it (decision 0003): a trained
 * model's texts had some 2.5 times below and 2 times above those of random tokens.
 */
const NORM_MARGIN = 2.5;
/** Re-sent states of it, where the model makes any. */
const SENT_STATES = 8;
/** Tokens of the made-up text that a model is looked at with where no text is given. */
const SAMPLE_TOKENS = 64;

/**
 * The model's config with `ranges` and `logitBound`, from token ids of sample texts (default:
 * random ones). Cost: a prompt pass of each text and the spectral norms of all matrices.
 * @throws E_MODEL when its norms are not folded
 */
export function withRanges(
  { config, weights }: Pick<Model, "config" | "weights">,
  kernels: FloatKernels,
  texts: readonly (readonly number[])[] = [sample(config)],
): ModelConfig {
  const { wires: exact, logit } = seenRanges({ config, weights }, kernels, texts);
  const wires = new Map(
    [...exact].map(([name, range]) => {
      const isNorm = name === "norm" || name.endsWith(".norm");
      return [name, widened(range, isNorm ? NORM_MARGIN : MARGIN)] as const;
    }),
  );
  const proven = provenRanges(config, weights, kernels);
  return { ...config, ...statedRanges(proven, { wires, logit: MARGIN * logit }) };
}

/** Least and greatest of every wire over some texts, without a margin. */
export function seenRanges(
  { config, weights }: Pick<Model, "config" | "weights">,
  kernels: FloatKernels,
  texts: readonly (readonly number[])[],
): SeenRanges {
  const decoder = new FloatDecoder(config, weights, kernels);
  const seen = new Map<string, [number, number]>();
  let logit = 0;
  for (const ids of texts) {
    decoder.begin();
    // States that are sent again stand behind a shorter prompt.
    const sent = config.nextToken === "resend" ? Math.min(SENT_STATES, ids.length - 1) : 0;
    const promptPositions = ids.length - sent;
    const options = { promptPositions, maxTokens: 1 + sent, chunk: 1, anchor: sent ? 0 : 1 };
    for (const segment of schedule(options)) {
      decoder.run(segment, segment.kind === "prompt" ? ids.slice(0, promptPositions) : undefined);
      observeWires(decoder.program, seen);
      const logits = decoder.program.graph.outputs.get(LOGITS);
      if (logits) logit = Math.max(logit, peakOf(decoder.program.values[logits.id]!));
    }
  }
  return { wires: seen, logit };
}

function widened([least, greatest]: readonly [number, number], margin: number): [number, number] {
  return [least / margin, greatest * margin];
}

function sample({ vocabSize, positionCount }: ModelConfig): number[] {
  const random = new Random(1, 0);
  const count = Math.min(SAMPLE_TOKENS, positionCount);
  return Array.from({ length: count }, () => random.below(vocabSize));
}

/** Widens the ranges by what one program's run has computed. */
export function observeWires(
  { graph, values }: FloatProgram,
  seen: Map<string, [number, number]>,
): void {
  const names = new Map<number, string>();
  const note = (name: string, least: number, greatest: number) => {
    const [low, high] = seen.get(name) ?? [Number.POSITIVE_INFINITY, 0];
    seen.set(name, [Math.min(low, least), Math.max(high, greatest)]);
  };
  for (const op of graph.ops) {
    const name = nameOf(op, graph.ops, names);
    if (name === undefined) continue;
    names.set(op.out, name);
    if (op.kind === "rmsNorm")
      meanSquares(values[op.x]!, op.shape.at(-1)!, (x) => note(name, x, x));
    else if (op.kind === "attentionWeights") {
      sumsOf(op.form, values[op.x]!, op.shape, (x) => note(name, x, x));
    } else if (
      op.kind === "causalCubes" ||
      op.kind === "add" ||
      op.kind === "linear" ||
      op.kind === "rope" ||
      op.kind === "matmul"
    ) {
      note(name, 0, peakOf(values[op.out]!));
    }
  }
}

/** What stated ranges call the wire that an op makes, or of a norm the one that it reads. */
function nameOf(op: Op, ops: readonly Op[], names: ReadonlyMap<number, string>) {
  switch (op.kind) {
    case "rmsNorm":
      return op.name;
    case "linear": {
      const weight = ops[op.weight]!;
      return weight.kind === "weight" ? weight.name.replace(/\.weight$/, "") : undefined;
    }
    case "rope":
    case "splitHeads":
    case "scale":
      return names.get(op.x);
    case "attentionWeights":
      return names.get(op.x)?.replace(/[^.]*$/, "sum");
    case "matmul":
      return op.transposeB ? names.get(op.a)?.replace(/[^.]*$/, "score") : undefined;
    case "causalCubes":
      return names.get(op.x)?.replace(/[^.]*$/, "cubes");
    case "add":
      return streamName(names.get(op.b));
    default:
      return undefined;
  }
}

function meanSquares(x: Float32Array, columns: number, note: (value: number) => void): void {
  for (let at = 0; at < x.length; at += columns) {
    let sum = 0;
    for (let i = at; i < at + columns; i++) sum += x[i]! * x[i]!;
    note(sum / columns);
  }
}

/** What a form of weights is divided by, of every row. */
function sumsOf(
  form: AttentionForm,
  scores: Float32Array,
  shape: readonly number[],
  note: (value: number) => void,
): void {
  const [rows, columns] = [shape.at(-2)!, shape.at(-1)!];
  const sums = new Float32Array((2 * scores.length) / columns);
  attentionWeights(scores, form, { rows, columns }, new Float32Array(scores.length), sums);
  for (let row = 0; row < sums.length; row += 2) note(sums[row]!);
}

function peakOf(values: Float32Array): number {
  let greatest = 0;
  for (let i = 0; i < values.length; i++) greatest = Math.max(greatest, Math.abs(values[i]!));
  return greatest;
}
