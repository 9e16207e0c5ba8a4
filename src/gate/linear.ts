// A linear layer whose weights S holds: a matrix, a diagonal, or constant attention over cached
// rows. Takes a client-masked wire, gives a shared one whose C part is known before the input.
//   once per model  S gives C the seed of D_W and D the matrix B = W - D_W
//   offline         D sends S c = r B - rho; C computes z_C = -(r D_W + rho)
//   online          S alone: z_S = x^ W - c
// z_C + z_S = (x + r) W - r B + rho - r D_W - rho = x W.
// Cost: no round; offline D to S one word an entry. Reveals nothing.
// Source: Delphi (Mishra et al., USENIX Security 2020) with a dealer in the place of HE.

import { packedBytes } from "../ring/pack.ts";
import { byParts, unpackPart } from "../ring/parts.ts";
import type { AttentionDims, Ring, Words } from "../ring/ring.ts";
import { maskedOf, maskOf, wire } from "./access.ts";
import {
  type Gate,
  type GateBase,
  local,
  type MaskProduct,
  noCost,
  type OfflineContext,
  placeOf,
  type Tensors,
  widthOf,
} from "./gate.ts";

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
    case "attention": {
      const rows = x.length / map.dims.columns - map.dims.start;
      const { weights, held } = tensors.attention(map.weight, map.dims, rows);
      return ring.attend(x, weights, { ...map.dims, held });
    }
    default:
      return map satisfies never;
  }
}

/** z_C = -(r D_W + rho), from the product of r. */
export function clientShare(ring: Ring, product: Words, rho: Words): Words {
  const { share } = byParts(ring, { count: rho.length }, (part) => ({
    share: part.ring.negate(part.ring.add(part.of(product), part.of(rho))),
  }));
  return share;
}

/** What of a linear map is best made for many gates at one time: products with a matrix. */
export function maskProduct(
  map: LinearMap,
  context: OfflineContext,
  input: number,
): MaskProduct | undefined {
  if (map.type !== "matrix") return undefined;
  return { weight: map.weight, r: maskOf(context, input) };
}

/** r under a gate's map, made ahead or now. */
export function mapOfMask(
  gate: GateBase & { readonly map: LinearMap },
  context: OfflineContext,
): Words {
  const { ring, tensors, products } = context;
  const made = products.get(gate.id);
  products.delete(gate.id);
  return made ?? applyMap(ring, tensors, gate.map, maskOf(context, gate.inputs[0]!));
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
  product: (gate, context) => maskProduct(gate.map, context, gate.inputs[0]!),
  deal(gate, context) {
    const { ring } = context;
    const bits = widthOf(gate, ring.bits);
    const rho = context.client.words(placeOf(gate, context), "rho", gate.rows * gate.columns, bits);
    const c = ring.sub(mapOfMask(gate, context), rho);
    context.toServer(gate, ring.pack(c, bits));
    context.wires.set(gate.output, { form: "shared" });
  },
  prepare(gate, context) {
    const { ring } = context;
    const bits = widthOf(gate, ring.bits);
    const rho = context.client.words(placeOf(gate, context), "rho", gate.rows * gate.columns, bits);
    const share = clientShare(ring, mapOfMask(gate, context), rho);
    context.wires.set(gate.output, { form: "shared", share });
  },
  idle: () => true,
  client: () => local(),
  server: (gate, context) =>
    local(() => {
      const { ring } = context;
      const x = maskedOf(context, gate.inputs[0]!);
      const bits = widthOf(gate, ring.bits);
      const product = applyMap(ring, context.tensors, gate.map, x);
      const c = context.fromDealer(gate);
      const { share } = byParts(ring, { count: gate.rows * gate.columns }, (part) => ({
        share: part.ring.sub(part.of(product), unpackPart(part, c, bits)),
      }));
      context.wires.set(gate.output, { form: "shared", share });
    }),
  cost: (gate, ringBits) => ({
    ...noCost,
    dealerToServer: packedBytes(gate.rows * gate.columns, widthOf(gate, ringBits)),
    multiplyAdds: multiplyAdds(gate, gate.map),
  }),
};
