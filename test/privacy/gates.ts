// Short descriptions of gates for tests; wires are numbered by the caller.

import type { GateSpec } from "../../src/gate/index.ts";
import type { LinearMap } from "../../src/gate/linear.ts";
import type { SplineTable } from "../../src/gate/spline.ts";

type Kind = GateSpec["kind"];
type Spec<K extends Kind> = Extract<GateSpec, { kind: K }>;
type Rest<K extends Kind> = Omit<Spec<K>, "kind" | "id" | "inputs" | "output" | "rows" | "columns">;

/** A gate whose number is that of its output. */
export function gate<K extends Kind>(
  kind: K,
  wires: { readonly from: readonly number[]; readonly to: number },
  shape: readonly [number, number],
  rest: Rest<K>,
): Spec<K> {
  const [rows, columns] = shape;
  const base = { id: wires.to, inputs: wires.from, output: wires.to, rows, columns };
  return { kind, ...base, ...rest } as unknown as Spec<K>;
}

export const matrixMap = (weight: string, inner: number): LinearMap => ({
  type: "matrix",
  weight,
  inner,
});

export function openGate(
  wires: { readonly from: number; readonly to: number },
  shape: readonly [number, number],
  shift: number,
  options: Partial<Pick<Spec<"open">, "squares" | "offline" | "openBits" | "bits">> = {},
): Spec<"open"> {
  return gate("open", { from: [wires.from], to: wires.to }, shape, {
    shift,
    openBits: options.openBits,
    bits: options.bits,
    squares: options.squares ?? "none",
    offline: options.offline ?? true,
    wireName: `wire${wires.from}`,
  });
}

export function splineGate(
  wires: { readonly from: number; readonly to: number },
  rows: number,
  table: SplineTable,
  bits?: number,
): Spec<"spline"> {
  const ends = { from: [wires.from], to: wires.to };
  return gate("spline", ends, [rows, 1], { table, bits, wireName: `wire${wires.from}` });
}

export function maxGate(
  wires: { readonly from: number; readonly to: number },
  lengths: readonly number[],
  options: { readonly heads?: number; readonly domainBits: number; readonly bits?: number },
): Spec<"max"> {
  const { heads = 1, ...rest } = options;
  const ends = { from: [wires.from], to: wires.to };
  const wireName = `wire${wires.from}`;
  return gate("max", ends, [lengths.length, heads], { lengths, heads, wireName, ...rest });
}

export function argmaxGate(
  wires: { readonly from: number; readonly to: number },
  shape: readonly [rows: number, entries: number],
  options: { readonly domainBits: number; readonly bits: number },
): Spec<"argmax"> {
  const [rows, entries] = shape;
  const wireName = `wire${wires.from}`;
  const ends = { from: [wires.from], to: wires.to };
  return gate("argmax", ends, [rows, 1], { entries, wireName, ...options });
}
