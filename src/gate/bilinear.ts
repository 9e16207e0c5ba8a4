// Products of two opened wires: attention's scores q k^T, and the weighted sum of values. Modulo
// 2^w, w no more than either wire's upper bits, a wire is y = a - r1 with a public and r1 known to
// D (share/wires.ts). For any bilinear map f
//   f(x, y) = f(a_x, a_y) - f(a_x, r_y) - f(r_x, a_y) + f(r_x, r_y),
// and D deals shares of the last term alone: as many words as the result has, whatever the inner
// size. Keys and values keep their masks from step to step, so a step deals for its new rows only.
// Cost: no message; D to S w bits an entry of the result. Reveals nothing.
// Source: matrix Beaver products on masked wires (Boyle, Gilboa, Ishai, TCC 2019; SIGMA, Gupta et
// al., PoPETs 2024).

import { ensure } from "../errors.ts";
import { packedBytes } from "../ring/pack.ts";
import type { Ring, Words } from "../ring/ring.ts";
import type { OpenedWire } from "../share/wires.ts";
import { openedOf, wire } from "./access.ts";
import { type CausalDims, causalMultiplyAdds, mixOf, scoresOf } from "./causal.ts";
import { type Gate, type GateBase, local, noCost, placeOf, widthOf } from "./gate.ts";

interface Bilinear extends GateBase {
  readonly dims: CausalDims;
}

/** q [rows, heads * width], k [start + rows, keyHeads * width] -> scores; see causal.ts. */
export interface Scores extends Bilinear {
  readonly kind: "scores";
}

/** Weights as scores lie, v [start + rows, keyHeads * width] -> [rows, heads * width]. */
export interface Mix extends Bilinear {
  readonly kind: "mix";
}

type BilinearMap = (ring: Ring, dims: CausalDims, x: Words, y: Words) => Words;

function share(
  ring: Ring,
  map: (x: Words, y: Words) => Words,
  [x, y]: readonly [OpenedWire, OpenedWire],
  options: { isServer: boolean; cross: Words },
): Words {
  const right = options.isServer ? ring.sub(y.a, y.r1) : ring.negate(y.r1);
  const own = ring.sub(map(x.a, right), map(x.r1, y.a));
  return ring.add(own, options.cross);
}

function bilinearGate<S extends Bilinear>(mapOf: BilinearMap): Gate<S> {
  const sizeOf = (gate: S) => gate.rows * gate.columns;
  return {
    reference(gate, context) {
      const [x, y] = gate.inputs.map((id) => wire(context, id).values);
      context.wires.set(gate.output, { values: mapOf(context.ring, gate.dims, x!, y!) });
    },
    deal(gate, context) {
      const { ring } = context;
      const [x, y] = gate.inputs.map((id) => wire(context, id));
      const bits = widthOf(gate, ring.bits);
      const opened = x!.form === "opened" && y!.form === "opened";
      ensure(opened, "E_INTERNAL", "a bilinear gate takes opened wires");
      const wide = bits <= Math.min(x.upperBits, y.upperBits);
      ensure(wide, "E_INTERNAL", "a bilinear gate's operands were opened too narrow");
      const cross = mapOf(ring, gate.dims, x.r1, y.r1);
      const client = context.client.words(placeOf(gate, context), "shareA", sizeOf(gate), bits);
      context.toServer(gate, ring.pack(ring.sub(cross, client), bits));
      context.wires.set(gate.output, { form: "shared" });
    },
    prepare() {},
    client: (gate, context) =>
      local(() => {
        const { ring } = context;
        const bits = widthOf(gate, ring.bits);
        const cross = context.client.words(placeOf(gate, context), "shareA", sizeOf(gate), bits);
        const [x, y] = gate.inputs.map((id) => openedOf(context, id));
        const map = (a: Words, b: Words) => mapOf(ring, gate.dims, a, b);
        const own = share(ring, map, [x!, y!], { isServer: false, cross });
        context.wires.set(gate.output, { form: "shared", share: own });
      }),
    server: (gate, context) =>
      local(() => {
        const { ring } = context;
        const bits = widthOf(gate, ring.bits);
        const cross = ring.unpack(context.fromDealer(gate), sizeOf(gate), bits);
        const [x, y] = gate.inputs.map((id) => openedOf(context, id));
        const map = (a: Words, b: Words) => mapOf(ring, gate.dims, a, b);
        const own = share(ring, map, [x!, y!], { isServer: true, cross });
        context.wires.set(gate.output, { form: "shared", share: own });
      }),
    cost: (gate, ringBits) => ({
      ...noCost,
      dealerToServer: packedBytes(sizeOf(gate), widthOf(gate, ringBits)),
      multiplyAdds: 2 * causalMultiplyAdds(gate.dims),
    }),
  };
}

export const scores: Gate<Scores> = bilinearGate(scoresOf);
export const mix: Gate<Mix> = bilinearGate(mixOf);
