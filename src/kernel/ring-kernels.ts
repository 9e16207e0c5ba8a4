// The seam between the protocol and the loops over Z_2^64. Three implementations share it: the
// plain TypeScript reference, AssemblyScript SIMD, and (optional, later) a native addon. Every
// operation wraps modulo 2^64. Vectors are BigUint64Array; a result may alias an operand of the
// same length in the elementwise operations, never in products.

/** A matrix [rows, columns] made ready for products; opaque to callers, freed with `free`. */
export interface RingMatrix {
  readonly rows: number;
  readonly columns: number;
  /** "int16" for weights in the clear, "ring" for full-width masks. */
  readonly kind: "int16" | "ring";
  free(): void;
}

/** One party's distributed-comparison-function key; see dcf in ring-kernels. */
export type DcfKey = Uint8Array;

export interface RingKernels {
  readonly name: "reference" | "wasm" | "native";

  // Elementwise, [n] -> [n], all operands of one length.
  add(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void;
  sub(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void;
  mul(out: BigUint64Array, a: BigUint64Array, b: BigUint64Array): void;
  /** out = a * factor. */
  scale(out: BigUint64Array, a: BigUint64Array, factor: bigint): void;
  /** out += a * factor. */
  addScaled(out: BigUint64Array, a: BigUint64Array, factor: bigint): void;
  /** out = a + constant. */
  addConstant(out: BigUint64Array, a: BigUint64Array, constant: bigint): void;
  /** Logical shift right by 0 <= bits < 64. */
  shiftRight(out: BigUint64Array, a: BigUint64Array, bits: number): void;
  /** Arithmetic (sign-extending) shift right by 0 <= bits < 64. */
  shiftRightSigned(out: BigUint64Array, a: BigUint64Array, bits: number): void;
  /** out[i] = sum over j of a[i * width + j]; a has out.length * width entries. */
  sumRows(out: BigUint64Array, a: BigUint64Array, width: number): void;

  /** Row-major weights [rows, columns] as int16, kept in the kernel's own layout. */
  loadInt16(weights: Int16Array, rows: number, columns: number): RingMatrix;
  /** Row-major ring matrix [rows, columns], kept in the kernel's own layout. */
  loadRing(words: BigUint64Array, rows: number, columns: number): RingMatrix;
  /** out [m, columns] = x [m, rows] times matrix [rows, columns]. out must not alias x. */
  matmul(out: BigUint64Array, x: BigUint64Array, matrix: RingMatrix): void;

  /**
   * ChaCha12 keystream in standard block order (RFC 8439 state layout: 32-byte key, 32-bit block
   * counter starting at `counter`, 12-byte nonce, 12 rounds), filling `out` entirely.
   */
  chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void;

  /**
   * Distributed comparison function over the domain 0..2^domainBits-1, payload of `words` ring
   * words (Boyle et al. 2021, "FSS for mixed-mode computation", BCG+ construction, ChaCha12 as
   * PRG). Shares of [x < alpha] * payload. `random` gives 32 bytes: both parties' root seeds.
   * Source: Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee, EUROCRYPT 2021, Fig. 1.
   */
  dcfGenerate(options: {
    domainBits: number;
    alpha: bigint;
    payload: BigUint64Array;
    random: Uint8Array;
  }): [DcfKey, DcfKey];
  /**
   * Evaluates one key at every point: out [points, words]; party 0's and party 1's outputs sum
   * to [point < alpha] * payload. Points must be below 2^domainBits.
   */
  dcfEvaluate(options: {
    party: 0 | 1;
    key: DcfKey;
    domainBits: number;
    words: number;
    points: BigUint64Array;
    out: BigUint64Array;
  }): void;
  /** Bytes of one party's key, the same in every implementation. */
  dcfKeyBytes(options: { domainBits: number; words: number }): number;

  /** Distributed point function: shares of [x = alpha] * payload, same conventions. */
  dpfGenerate(options: {
    domainBits: number;
    alpha: bigint;
    payload: BigUint64Array;
    random: Uint8Array;
  }): [Uint8Array, Uint8Array];
  dpfEvaluate(options: {
    party: 0 | 1;
    key: Uint8Array;
    domainBits: number;
    words: number;
    points: BigUint64Array;
    out: BigUint64Array;
  }): void;
  dpfKeyBytes(options: { domainBits: number; words: number }): number;
}
