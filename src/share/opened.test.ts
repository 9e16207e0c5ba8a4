// The algebra of opened wires, for every input and every mask of small rings.

import { describe, expect, test } from "vitest";
import { uniform } from "../../test/privacy/values.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring, type Words } from "../ring/ring.ts";
import {
  crossBits,
  fromUpper,
  liftBits,
  offset,
  squareShare,
  sumSquaresShare,
  valueShare,
} from "./opened.ts";
import type { OpenedWire } from "./wires.ts";

const kernels = referenceRingKernels();

interface Widths {
  /** Of t. */
  readonly openBits: number;
  readonly shift: number;
  /** Of y, as far as it is needed. */
  readonly bits: number;
}

/** C's and S's wires for every (z, r) of an opening, each pair one entry; and the y to come. */
function allOpenings(ring: Ring, { openBits, shift, bits }: Widths) {
  const bound = 1n << BigInt(openBits - 2);
  const pairs: (readonly [bigint, bigint])[] = [];
  for (let z = -bound; z < bound; z++) {
    for (let r = 0n; r < 4n * bound; r++) pairs.push([z, r]);
  }
  const column = (body: (z: bigint, r: bigint) => bigint): Words =>
    BigUint64Array.from(pairs, ([z, r]) => ring.residue(body(z, r)));
  const top = BigInt(openBits - 1);
  const by = BigInt(shift);
  const upperBits = openBits - shift;
  const upper = column((z, r) => BigInt.asUintN(openBits, z + r + offset(openBits)) >> by);
  // The shares have the bits that are dealt, and what lies above is anybody's guess.
  const halves = (seed: number, width: number, whole: (r: bigint) => bigint) => {
    const client = uniform(seed, pairs.length, width);
    const rest = ring.sub(
      column((_z, r) => whole(r)),
      client,
    );
    return { client, server: width === 0 ? client : ring.lowBits(rest, width) };
  };
  const shares = {
    r1: halves(1, bits, (r) => r >> by),
    b: halves(2, liftBits(bits, upperBits), (r) => r >> top),
    br: halves(3, crossBits(bits, upperBits), (r) => (r >> top) * (r >> by)),
    squares: halves(4, bits, (r) => (r >> by) * (r >> by)),
  };
  const common = { form: "opened", upperBits, ...fromUpper(ring, upper, upperBits) } as const;
  const wireOf = (party: "client" | "server"): OpenedWire => ({
    ...common,
    r1: shares.r1[party],
    b: shares.b[party],
    br: shares.br[party],
    squares: shares.squares[party],
  });
  const y = column((z, r) => (z + BigInt.asUintN(shift, r)) >> by);
  return { wires: [wireOf("client"), wireOf("server")] as const, y };
}

/** Every width of t with every shift. */
const openings = (ringBits: number) =>
  Array.from({ length: ringBits - 2 }, (_, i) => i + 3).flatMap((openBits) =>
    Array.from({ length: openBits - 2 }, (_, i) => ({ openBits, shift: i + 1 })),
  );

describe("opened wires", () => {
  for (const ringBits of [3, 4, 5, 6, 7]) {
    test(`${ringBits} bits: value and square for every input, mask, shift and width`, () => {
      const ring = new Ring(kernels, ringBits);
      for (const opening of openings(ringBits)) {
        for (let bits = 1; bits <= ringBits; bits++) {
          const { wires, y } = allOpenings(ring, { ...opening, bits });
          const sum = (share: (wire: OpenedWire, isServer: boolean) => Words) =>
            ring.lowBits(ring.add(share(wires[0], false), share(wires[1], true)), bits);
          const low = (words: Words) => ring.lowBits(words, bits);
          expect(sum((wire, isServer) => valueShare(ring, wire, isServer))).toEqual(low(y));
          const square = ring.mul(y, y);
          const squares = sum((wire, isServer) => squareShare(ring, wire, isServer));
          expect(squares).toEqual(low(square));
          const rows = sum((wire, isServer) => {
            const ofRows = { ...wire, squares: ring.sumRows(wire.squares!, 4) };
            return sumSquaresShare(ring, ofRows, { columns: 4, isServer });
          });
          expect(rows).toEqual(low(ring.sumRows(square, 4)));
        }
      }
    });
  }

  test("a share of b, or of b r1, that is a bit short is too short", () => {
    const ring = new Ring(kernels, 6);
    const widths = { openBits: 5, shift: 2, bits: 6 };
    const { wires, y } = allOpenings(ring, widths);
    const upperBits = 3;
    const cut = (words: Words, width: number) => ring.lowBits(words, width - 1);
    const [client, server] = wires.map((wire) => ({
      ...wire,
      b: cut(wire.b, liftBits(6, upperBits)),
      br: cut(wire.br!, crossBits(6, upperBits)),
    }));
    const value = (a: OpenedWire, b: OpenedWire) =>
      ring.add(valueShare(ring, a, false), valueShare(ring, b, true));
    expect(value(wires[0], wires[1])).toEqual(y);
    expect(value(client!, server!)).not.toEqual(y);
    const square = ([a, b]: readonly OpenedWire[]) =>
      ring.add(squareShare(ring, a!, false), squareShare(ring, b!, true));
    const short = wires.map((wire, i) => ({ ...wire, br: [client, server][i]!.br }));
    expect(square(wires)).toEqual(ring.mul(y, y));
    expect(square(short)).not.toEqual(ring.mul(y, y));
  });
});
