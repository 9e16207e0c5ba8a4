// The algebra of opened wires, for every input and every mask of small rings.

import { describe, expect, test } from "vitest";
import { uniform } from "../../test/privacy/values.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "../ring/ring.ts";
import { fromUpper, offset, squareShare, sumSquaresShare, valueShare } from "./opened.ts";
import type { OpenedWire } from "./wires.ts";

const kernels = referenceRingKernels();

/** C's and S's wires for every (z, r) of a ring, each pair one entry; and the y that must come. */
function allOpenings(ring: Ring, shift: number) {
  const bound = 1n << BigInt(ring.bits - 2);
  const pairs: (readonly [bigint, bigint])[] = [];
  for (let z = -bound; z < bound; z++) {
    for (let r = 0n; r < 4n * bound; r++) pairs.push([z, r]);
  }
  const column = (body: (z: bigint, r: bigint) => bigint): Words =>
    BigUint64Array.from(pairs, ([z, r]) => ring.residue(body(z, r)));
  const top = BigInt(ring.bits - 1);
  const by = BigInt(shift);
  const upper = column((z, r) => ring.residue(z + r + offset(ring)) >> by);
  const whole = {
    r1: column((_z, r) => r >> by),
    b: column((_z, r) => r >> top),
    br: column((_z, r) => (r >> top) * (r >> by)),
    squares: column((_z, r) => (r >> by) * (r >> by)),
  };
  const low = (words: Words, bits: number) => ring.lowBits(words, bits);
  const client = {
    r1: uniform(1, pairs.length, ring.bits),
    b: uniform(2, pairs.length, shift),
    br: uniform(3, pairs.length, shift),
    squares: uniform(4, pairs.length, ring.bits),
  };
  const common = { form: "opened", shift, ...fromUpper(ring, upper, shift) } as const;
  const server = {
    r1: ring.sub(whole.r1, client.r1),
    b: low(ring.sub(whole.b, client.b), shift),
    br: low(ring.sub(whole.br, client.br), shift),
    squares: ring.sub(whole.squares, client.squares),
  };
  const wires: readonly [OpenedWire, OpenedWire] = [
    { ...common, ...client },
    { ...common, ...server },
  ];
  const y = column((z, r) => (z + BigInt.asUintN(shift, r)) >> by);
  return { wires, y };
}

describe("opened wires", () => {
  for (const bits of [3, 4, 5, 6, 7]) {
    test(`${bits} bits: value and square for every input, mask and shift`, () => {
      const ring = new Ring(kernels, bits);
      for (let shift = 1; shift <= bits - 2; shift++) {
        const { wires, y } = allOpenings(ring, shift);
        const sum = (share: (wire: OpenedWire, isServer: boolean) => Words) =>
          ring.add(share(wires[0], false), share(wires[1], true));
        expect(sum((wire, isServer) => valueShare(ring, wire, isServer))).toEqual(y);
        const square = ring.mul(y, y);
        expect(sum((wire, isServer) => squareShare(ring, wire, isServer))).toEqual(square);
        const rows = sum((wire, isServer) => {
          const squares = ring.sumRows(wire.squares!, 4);
          return sumSquaresShare(ring, { ...wire, squares }, { columns: 4, isServer });
        });
        expect(rows).toEqual(ring.sumRows(square, 4));
      }
    });
  }
});
