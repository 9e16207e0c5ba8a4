// What D and C do alike before a bundle's gates: C's masks, and the products of masks with the
// model's matrices. A mask never depends on a product, so all of a bundle's products with one
// matrix are made together: it is read, or made from its seed, once for all tokens of the bundle.

import type { OfflineContext } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import type { Ring, Words } from "../ring/ring.ts";

/** A segment's gates with the context of the party that prepares them. */
export interface OfflineWork {
  readonly gates: readonly GateSpec[];
  readonly context: OfflineContext;
}

/** The rows that gates want multiplied with one matrix. */
interface Wanted {
  readonly rows: Words[];
  readonly takers: { readonly gate: number; readonly context: OfflineWork["context"] }[];
}

/**
 * Sets the masks of all client-masked wires and leaves each gate's product in its context.
 * Cost: the multiply-adds of the gates' matrices; every matrix is read once.
 */
export function prepareMasks(
  ring: Ring,
  work: readonly OfflineWork[],
  implementation: typeof gateOf = gateOf,
): void {
  const wanted = new Map<string, Wanted>();
  for (const { gates, context } of work) {
    for (const gate of gates) {
      const found = implementation(gate);
      found.mask?.(gate, context);
      const product = found.product?.(gate, context);
      if (!product) continue;
      const same = wanted.get(product.weight) ?? { rows: [], takers: [] };
      wanted.set(product.weight, same);
      same.rows.push(product.r);
      same.takers.push({ gate: gate.id, context });
    }
  }
  for (const [weight, { rows, takers }] of wanted) {
    const matrix = takers[0]!.context.tensors.matrix(weight);
    const inner = "transposed" in matrix && matrix.transposed ? matrix.columns : matrix.rows;
    const out = ring.matmul(joined(rows), matrix);
    const outer = out.length / (rows.reduce((sum, part) => sum + part.length, 0) / inner);
    let at = 0;
    takers.forEach(({ gate, context }, i) => {
      const end = at + (rows[i]!.length / inner) * outer;
      context.products.set(gate, out.subarray(at, end));
      at = end;
    });
  }
}

function joined(parts: readonly Words[]): Words {
  if (parts.length === 1) return parts[0]!;
  const out = new BigUint64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
