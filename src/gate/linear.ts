// A linear layer whose weights S holds: a matrix, a diagonal, or constant attention over cached
// rows. Takes a client-masked wire, gives a shared one whose C part is known before the input.
//   once per model  S gives C the seed of D_W and D the matrix B = W - D_W
//   offline         D sends S c = r B - rho; C computes z_C = -(r D_W + rho)
//   online          S alone: z_S = x^ W - c
// z_C + z_S = (x + r) W - r B + rho - r D_W - rho = x W.
// Cost: no round; offline D to S one word an entry. Reveals nothing.
// Source: Delphi (Mishra et al., USENIX Security 2020) with a dealer in the place of HE.

import { pack, packedBytes, unpack } from "../ring/pack.ts";
import type { AttentionDims, Ring, Words } from "../ring/ring.ts";
import { maskedOf, maskOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost, placeOf, type Tensors } from "./gate.ts";

export type LinearMap =
  | { readonly type: "matrix"; readonly weight: string; readonly inner: number }
  | { readonly type: "diagonal"; readonly weight: string }
  | { readonly type: "attention"; readonly weight: string; readonly dims: AttentionDims };

export interface Linear extends GateBase {
  readonly kind: "linear";
  readonly map: LinearMap;
}

/** x under the map, with the tensors of whichever party asks. */
export function applyMap(ring: Ring, tensors: Tensors, map: LinearMap, x: Words): Words {
  switch (map.type) {
    case "matrix":
      return ring.matmul(x, tensors.matrix(map.weight));
    case "diagonal": {
      const diagonal = tensors.words(map.weight);
      return ring.mul(x, ring.repeat(diagonal, x.length / diagonal.length));
    }
    case "attention":
      return ring.attend(x, tensors.words(map.weight), map.dims);
    default:
      return map satisfies never;
  }
}

/** z_C = -(r D_W + rho); also what the fixed interpreter takes the logits' dither from. */
export function clientShare(
  ring: Ring,
  masks: Tensors,
  map: LinearMap,
  r: Words,
  rho: Words,
): Words {
  return ring.negate(ring.add(applyMap(ring, masks, map, r), rho));
}

/** Ring multiply-adds of one evaluation. */
export function multiplyAdds(gate: { rows: number; columns: number }, map: LinearMap): number {
  switch (map.type) {
    case "matrix":
      return gate.rows * map.inner * gate.columns;
    case "diagonal":
      return gate.rows * gate.columns;
    case "attention": {
      const last = map.dims.start + gate.rows;
      return (map.dims.columns * (last * (last + 1) - map.dims.start * (map.dims.start + 1))) / 2;
    }
    default:
      return map satisfies never;
  }
}

export const linear: Gate<Linear> = {
  reference(gate, context) {
    const x = wire(context, gate.inputs[0]!).values;
    const values = applyMap(context.ring, context.tensors, gate.map, x);
    context.wires.set(gate.output, { values });
  },
  deal(gate, context) {
    const { ring } = context;
    const size = gate.rows * gate.columns;
    const rho = context.client.words(placeOf(gate, context), "rho", size, ring.bits);
    const r = maskOf(context, gate.inputs[0]!);
    const c = ring.sub(applyMap(ring, context.tensors, gate.map, r), rho);
    context.toServer(gate, pack(c, ring.bits));
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare(gate, context) {
    const { ring } = context;
    const size = gate.rows * gate.columns;
    const rho = context.random.words(placeOf(gate, context), "rho", size, ring.bits);
    const r = maskOf(context, gate.inputs[0]!);
    const share = clientShare(ring, context.tensors, gate.map, r, rho);
    context.wires.set(gate.output, { form: "shared", share });
  },
  client: () => local(),
  server: (gate, context) =>
    local(() => {
      const { ring } = context;
      const x = maskedOf(context, gate.inputs[0]!);
      const c = unpack(context.fromDealer(gate), gate.rows * gate.columns, ring.bits);
      const share = ring.sub(applyMap(ring, context.tensors, gate.map, x), c);
      context.wires.set(gate.output, { form: "shared", share });
    }),
  cost: (gate, ringBits) => ({
    ...noCost,
    dealerToServer: packedBytes(gate.rows * gate.columns, ringBits),
    multiplyAdds: multiplyAdds(gate, gate.map),
  }),
};
