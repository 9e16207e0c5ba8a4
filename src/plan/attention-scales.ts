// The numbers of attention weights before they are divided: bits after the point of scores and
// weights, and how far a row's sum reaches. Every form of weights has its own.

import { ensure } from "../errors.ts";
import type { Graph } from "../graph/graph.ts";
import type { AttentionForm } from "../graph/ops.ts";
import type { Builder } from "./builder.ts";
import { HEADROOM_BITS, OPERAND_BITS, operandBitsOf, REMEDY } from "./format.ts";

/** How weights follow from scores: the exact softmax, an AttentionForm, or THE-X's. */
export type WeightForm = { readonly kind: "exact" } | AttentionForm | { readonly kind: "the-x" };

export interface WeightScales {
  /** Bits after the point of opened scores. */
  readonly scoreBits: number;
  /** Bits after the point of weights before they are divided. */
  readonly fracBits: number;
  /** Bits after the point of opened values. */
  readonly valueBits: number;
  /** Greatest sum of a row's magnitudes. */
  readonly greatestSum: number;
}

/** Bits after the point of weights before they are divided by their sum, at the most. */
const WEIGHT_BITS = 28;
/** The same of exponentials: pieces have coefficients to speak of, so they are fewer. */
const EXPONENTIAL_BITS = 32;
/**
 * Bits that an exponential's argument has fewer than other operands: keys and knots are fewer, and
 * what it rounds off is a small part of every weight.
 */
const EXPONENT_BITS_LESS = 1;
/** Fewer bits of a score than that would leave no weights. */
const LEAST_SCORE_BITS = 3;
/** Values keep as many bits. */
const LEAST_VALUE_BITS = 8;

/** The form of a graph's attention weights; undefined where it has none. */
export function weightFormOf(graph: Graph): WeightForm | undefined {
  for (const op of graph.ops) {
    if (op.kind === "causalSoftmax") return { kind: "exact" };
    if (op.kind === "attentionWeights") return op.form;
    if (op.kind === "causalCubes") return { kind: "the-x" };
  }
  return undefined;
}

/** Squarings that make x^exponent. @throws E_PLAN where that takes other products */
export function squarings(exponent: number): number {
  const count = Math.log2(exponent);
  const fits = Number.isInteger(count) && count >= 1;
  ensure(fits, "E_PLAN", `x^${exponent} is no repeated square: take an exponent of 2, 4 or 8`);
  return count;
}

/**
 * Scales of one layer's weights.
 * @throws E_PLAN naming the scores when their bound leaves them too few bits
 */
export function weightScales(form: WeightForm, layer: string, builder: Builder): WeightScales {
  const { numbers, bound } = builder;
  const operandBits = operandBitsOf(numbers);
  const { positionCount } = numbers;
  ensure(positionCount !== undefined, "E_INTERNAL", "a decoder's plan needs its positions");
  if (form.kind === "exact" || form.kind === "softmax") {
    const greatestSum = positionCount * (1 + 2 ** -7);
    const valueBits = operandBits;
    const room = mixedRoom(greatestSum * bound(`${layer}.value`)) - valueBits;
    const fracBits = Math.max(WEIGHT_BITS, Math.min(EXPONENTIAL_BITS, room));
    // Where operands are finer than usual, somebody has asked for it.
    const less = operandBits > OPERAND_BITS ? 0 : EXPONENT_BITS_LESS;
    return { scoreBits: operandBits - less, fracBits, valueBits, greatestSum };
  }
  const score = bound(`${layer}.score`);
  const greatestSum = form.kind === "the-x" ? positionCount * score : bound(`${layer}.sum`);
  const mixed = mixedRoom(greatestSum * bound(`${layer}.value`));
  // Weights are squares mostly: with a third for each of their factors, values get the last one.
  const third = Math.max(LEAST_VALUE_BITS, Math.ceil(mixed / 3));
  const valueBits = Math.min(operandBits, third);
  const room = Math.min(WEIGHT_BITS, mixed - valueBits);
  const scoreBits = Math.min(operandBits, scoreRoom(form, room, layer, builder));
  ensure(
    scoreBits >= LEAST_SCORE_BITS,
    "E_PLAN",
    `wire ${layer}.score: its bound leaves the weights too few bits; ${REMEDY}`,
  );
  switch (form.kind) {
    case "2relu":
      return { scoreBits, fracBits: room, valueBits, greatestSum };
    case "2quad":
    case "power":
      return { scoreBits, fracBits: 2 * lastBits(form, scoreBits, room), valueBits, greatestSum };
    case "the-x":
      return { scoreBits, fracBits: scoreBits, valueBits, greatestSum };
    default:
      return form satisfies never;
  }
}

/** Bits after the point with which a weighted sum of values can be opened. */
const mixedRoom = (greatest: number) => HEADROOM_BITS - 1 - Math.ceil(Math.log2(greatest));

/** Bits after the point of what is squared last. */
function lastBits(form: AttentionForm, scoreBits: number, room: number): number {
  return form.kind === "power" ? Math.floor(room / 2) : scoreBits;
}

function scoreRoom(
  form: Exclude<WeightForm, { kind: "exact" | "softmax" }>,
  room: number,
  layer: string,
  { bound }: Builder,
): number {
  switch (form.kind) {
    case "2relu":
      return room;
    case "2quad":
      return Math.floor(room / 2);
    case "power":
      // The first square is opened anew; it must not have fewer bits than what it becomes.
      return Math.floor(room / 2) < LEAST_SCORE_BITS ? 0 : room;
    case "the-x":
      return Math.min(
        room,
        Math.floor((HEADROOM_BITS - 2 - Math.log2(bound(`${layer}.cubes`))) / 3) - 1,
      );
    default:
      return form satisfies never;
  }
}
