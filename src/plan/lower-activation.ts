// Activations of ordinary decoders as gates: a function of each entry by a table over all of its
// opened bits, or a square, which is local once the wire was opened with squares.

import { ensure } from "../errors.ts";
import type { PiecewiseTable } from "../gate/piecewise.ts";
import type { OpBody } from "../graph/ops.ts";
import { excessOf, quadBound } from "./activation-bounds.ts";
import { type Activation, activation, type Builder } from "./builder.ts";
import { HEADROOM_BITS, OPERAND_BITS, operandBitsOf, REMEDY } from "./format.ts";
import { type Argument, activationTable, boundedBits, partsTable, reluTable } from "./tables.ts";

export type FunctionBody = Extract<OpBody, { kind: "gelu" | "silu" | "relu" | "piecewise" }>;

/**
 * Bits that an activation's argument has fewer than other operands: its keys are most of a plan's
 * bytes, and what it rounds off averages out over the columns that follow.
 */
const ACTIVATION_BITS_LESS = 2;

/**
 * Bits after the point that an activation's value has more than operands, where there is room: so
 * that pieces of degree 3 have a leading coefficient to speak of. They cost bytes online only.
 */
const VALUE_BITS_MORE = 25;

/** THE-X's net: its layers' names, behind the layer's. */
const NET = /^(.*\.reciprocal\.)(\d)$/;

/** A function of each entry. @throws E_PLAN when the wire is no linear layer's */
export function lowerFunction(builder: Builder, x: Activation, op: FunctionBody): Activation {
  const { name, rows, columns } = x;
  ensure(name !== undefined, "E_PLAN", `${op.kind} of no linear layer`);
  const net = NET.test(name);
  const precision = operandBitsOf(builder.numbers);
  const fracBits = net ? precision : precision - ACTIVATION_BITS_LESS;
  const magnitude = builder.bound(name);
  const shift = x.fracBits - fracBits;
  const opened = builder.open(x, { shift, squares: "none", wireName: name, magnitude });
  // A table finer than its argument would be knots for nothing; where operands are finer than
  // usual, somebody has asked for it.
  const right = net || precision > OPERAND_BITS ? precision : fracBits;
  // A proven bound needs no more of the opened word than it says.
  const upper = builder.upperBitsOf(opened.wire);
  const all = builder.numbers.calibratedBounds === true;
  const bits = all ? upper : Math.min(upper, boundedBits(magnitude, fracBits));
  const argument = { fracBits, bits, precision: right };
  const valueBits = Math.min(precision + VALUE_BITS_MORE, roomOf(builder, name));
  ensure(
    valueBits >= fracBits,
    "E_PLAN",
    `wire ${name}: the bound of what follows leaves its activation no bits; ${REMEDY}`,
  );
  const table = tableOf(op, argument, { magnitude, fracBits: valueBits });
  const body = { kind: "piecewise", table, wireName: name } as const;
  const wire = builder.emit(body, [opened.wire], rows, columns);
  const excess = op.kind === "piecewise" ? excessOf(op) : 0;
  const form = { form: "shared", rows, columns, offline: false } as const;
  return activation({ wire, ...form, fracBits: valueBits, name, magnitude: magnitude + excess });
}

function tableOf(
  op: FunctionBody,
  argument: Argument,
  value: { readonly magnitude: number; readonly fracBits: number },
): PiecewiseTable {
  switch (op.kind) {
    case "gelu":
      return activationTable(op.form, argument, value);
    case "silu":
      return activationTable(op.kind, argument, value);
    case "relu":
      return reluTable(argument, value.fracBits);
    case "piecewise": {
      const { edges, pieces } = op;
      return partsTable({ edges, pieces }, argument, value.fracBits);
    }
    default:
      return op satisfies never;
  }
}

/** Bits after the point of an activation's value with which the layer behind it still fits. */
function roomOf(builder: Builder, name: string): number {
  const net = NET.exec(name);
  if (net) {
    const next = `${net[1]}${Number(net[2]) + 1}`;
    const magnitude = Math.ceil(Math.log2(builder.bound(next)));
    return HEADROOM_BITS - 1 - magnitude - builder.weightBits(`${next}.weight`);
  }
  const layer = name.replace(/\.[^.]*$/, "");
  return builder.residualRoom() - builder.weightBits(`${layer}.o.weight`);
}

/**
 * c2 x^2 + c1 x + c0, entry by entry.
 * @throws E_PLAN when c2 is no power of two: it moves the point
 */
export function lowerQuad(
  builder: Builder,
  x: Activation,
  coefficients: readonly [number, number, number],
): Activation {
  const { name, rows, columns } = x;
  ensure(name !== undefined, "E_PLAN", "quad of no linear layer");
  const [c2, c1, c0] = coefficients;
  const leading = Math.log2(c2);
  ensure(Number.isInteger(leading), "E_PLAN", "quad: the leading coefficient is no power of two");
  const room = Math.floor((roomOf(builder, name) + leading) / 2);
  const bits = Math.min(operandBitsOf(builder.numbers), room, x.fracBits - 1);
  const message = `wire ${name}: the bound of what follows leaves its square no bits; ${REMEDY}`;
  ensure(bits >= 6, "E_PLAN", message);
  const peak = builder.bound(name);
  const how = { shift: x.fracBits - bits, squares: "each", wireName: name } as const;
  const opened = builder.open(x, { ...how, magnitude: peak });
  const linear = BigInt(Math.round((c1 / c2) * 2 ** bits));
  const constant = BigInt(Math.round((c0 / c2) * 2 ** (2 * bits)));
  const wire = builder.emit({ kind: "quad", linear, constant }, [opened.wire], rows, columns);
  const form = { form: "shared", rows, columns, offline: false } as const;
  const magnitude = quadBound(coefficients, peak);
  return activation({ wire, ...form, fracBits: 2 * bits - leading, name, magnitude });
}
