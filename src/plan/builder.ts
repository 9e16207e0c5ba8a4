// What the parts of the lowering share: tensors on their way through a plan, and the calls that put
// gates behind one another.

import type { GateSpec } from "../gate/index.ts";
import type { Numbers, WireRange } from "./format.ts";

/** A tensor on its way through the plan. */
export interface Activation {
  readonly role: "activation";
  readonly wire: number;
  readonly form: "shared" | "client" | "opened";
  readonly rows: number;
  readonly columns: number;
  readonly fracBits: number;
  /** Whether C's part is known before the input. */
  readonly offline: boolean;
  /** A residual sum: truncated before it feeds another layer. */
  readonly accumulated: boolean;
  /** What stated ranges call it, where they know it. */
  readonly name?: string | undefined;
  /** Heads that its columns are split into, where they are. */
  readonly heads?: number | undefined;
  /** Rotary positions that are yet to be applied. */
  readonly rope?: { readonly start: number; readonly base: number } | undefined;
  /** Its bound, where that is not the one of its name: max |x|, real units. */
  readonly magnitude?: number | undefined;
}

export type ActivationFields = Pick<
  Activation,
  "wire" | "form" | "rows" | "columns" | "fracBits" | "offline"
> &
  Partial<Activation>;

export function activation(fields: ActivationFields): Activation {
  return { role: "activation", accumulated: false, ...fields };
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** A gate without its place. */
export type GateBody = DistributiveOmit<GateSpec, "id" | "inputs" | "output" | "rows" | "columns">;

export interface OpenOptions {
  readonly shift: number;
  readonly squares: "none" | "each" | "rows";
  readonly wireName: string;
  /** max |x|, real units. */
  readonly magnitude: number;
  /** Bits of the opening, where more are wanted than the magnitude needs. */
  readonly leastBits?: number | undefined;
  /**
   * Whether the magnitude counts even where nobody has proven it: what made the wire, a product of
   * exchanges, has no more bits than it.
   */
  readonly narrow?: boolean | undefined;
}

export interface Builder {
  readonly numbers: Numbers;
  /** Adds a gate; gives its output. */
  emit(body: GateBody, inputs: readonly number[], rows: number, columns: number): number;
  /** Opens a shared wire with truncation. */
  open(x: Activation, how: OpenOptions): Activation;
  /** Bits of t with which a wire was opened. */
  upperBitsOf(wire: number): number;
  /** The magnitude that the plan relies on: proven, or calibrated with a factor of 4 by request. */
  bound(name: string): number;
  /** What is stated of a wire. */
  range(name: string): WireRange;
  /** Bits after the point that a summand of the residual stream may have. */
  residualRoom(): number;
  /** Bits after the point of a weight's grid. */
  weightBits(name: string): number;
}
