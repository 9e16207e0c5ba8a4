// The seam between the protocol and the loops over Z_2^64. Three implementations share it: the
// plain TypeScript reference, AssemblyScript SIMD, and (optional) a native addon. Every
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

/**
 * A matrix [rows, columns] that is never stored: its entry (i, j) is word i * columns + j of the
 * ChaCha12 keystream of this key and nonce, from block 0 on.
 */
export interface KeystreamMatrix {
  readonly rows: number;
  readonly columns: number;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** 12 bytes. */
  readonly nonce: Uint8Array;
  /** Whether products take its transpose, [columns, rows]. */
  readonly transposed: boolean;
}

/** The pseudo-random generator inside function-secret-sharing keys; see function-key.ts. */
export type FunctionPrg = "chacha12" | "aes128";

/** Domain and payload of a function-secret-sharing key. */
export interface FunctionShape {
  domainBits: number;
  /** Ring words of the payload. */
  words: number;
  /** Default "chacha12", which every kernel set has. */
  prg?: FunctionPrg | undefined;
  /**
   * Whether a payload word is two values modulo 2^32, the low one first, whose shares add up apart.
   * Of a DCF only. Default false: words add up modulo 2^64.
   */
  halved?: boolean | undefined;
}

export interface GenerateOptions {
  domainBits: number;
  prg?: FunctionPrg | undefined;
  halved?: boolean | undefined;
  alpha: bigint;
  payload: BigUint64Array;
  /** 32 bytes: both parties' root seeds. */
  random: Uint8Array;
}

export interface GenerateManyOptions extends FunctionShape {
  /** [keys] */
  alphas: BigUint64Array;
  /** [keys, words] */
  payloads: BigUint64Array;
  /** [keys, 32] */
  random: Uint8Array;
  /** Memory for the keys, whatever is in it; some kernels take new memory all the same. */
  room?: ((byteLength: number) => Uint8Array) | undefined;
}

export interface EvaluateOptions extends FunctionShape {
  party: 0 | 1;
  key: Uint8Array;
  points: BigUint64Array;
  /** [points, words] */
  out: BigUint64Array;
}

/** Many keys of one shape, each evaluated at its own points. */
export interface EvaluateManyOptions extends FunctionShape {
  party: 0 | 1;
  /** Keys of `keyBytes` each, one after the other. */
  keys: Uint8Array;
  /** [keys, points of a key]; neighbours with a common prefix share its evaluation. */
  points: BigUint64Array;
  /** [keys, points of a key, words] */
  out: BigUint64Array;
}

/**
 * One party's shares of a piecewise polynomial with K knots at n entries; gate/piecewise.ts says
 * what it computes.
 */
export interface PiecewiseOptions {
  /** 1 to 63. */
  domainBits: number;
  /** Low bits of a point that keys do not see, below domainBits. */
  blockBits: number;
  prg?: FunctionPrg | undefined;
  party: 0 | 1;
  /** DCF keys over domainBits - blockBits bits, payload of degree + 1 words, entry by entry. */
  keys: Uint8Array;
  /** A, [n], below 2^domainBits. */
  a: BigUint64Array;
  /** Shares of r1, r1^2, .., [n] each; as many as the degree, 1 to 3. */
  powers: readonly BigUint64Array[];
  /** -a_k modulo 2^domainBits, [K], multiples of 2^blockBits; the first is 0. */
  offsets: BigUint64Array;
  /** By i: coefficients of x^i in the factors of F, [K, degree + 1]. */
  coefficients: readonly BigUint64Array[];
  /** The same of the first piece, [degree + 1] each. */
  first: readonly BigUint64Array[];
  /** [n] */
  out: BigUint64Array;
}

/** Where constant attention reads and writes: see RingKernels.attend. */
export interface AttentionDims {
  readonly heads: number;
  /** Positions T of the constant matrices [heads, T, T]. */
  readonly positions: number;
  /** First row of the result; rows start.. of x are the new ones. */
  readonly start: number;
  /** Columns d of x; each head has d / heads of them. */
  readonly columns: number;
  /**
   * Rows of each head's matrix that `weights` holds, [heads, count, T], and which is the first;
   * default all T of them.
   */
  readonly held?: { readonly from: number; readonly count: number } | undefined;
}

export interface RingKernels {
  readonly name: "reference" | "wasm" | "native";
  /** Generators of function keys that this set has, best first; "chacha12" is always there. */
  readonly functionPrgs: readonly FunctionPrg[];

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
  /** The low 1 <= bits <= 64 bits of each word. */
  lowBits(out: BigUint64Array, a: BigUint64Array, bits: number): void;
  /** out[i] = sum over j of a[i * width + j]; a has out.length * width entries. */
  sumRows(out: BigUint64Array, a: BigUint64Array, width: number): void;

  /**
   * Words as a dense string of bits, 1 <= bits <= 64 for each: word i takes bits i * bits on,
   * little-endian; its upper bits are dropped, and what is left of the last byte is zero. out has
   * ceil(n * bits / 8) bytes.
   */
  pack(out: Uint8Array, words: BigUint64Array, bits: number): void;
  /** The inverse; what is left of the last byte is not looked at. */
  unpack(out: BigUint64Array, bytes: Uint8Array, bits: number): void;

  /** Row-major weights [rows, columns] as int16, kept in the kernel's own layout. */
  loadInt16(weights: Int16Array, rows: number, columns: number): RingMatrix;
  /** Row-major ring matrix [rows, columns], kept in the kernel's own layout. */
  loadRing(words: BigUint64Array, rows: number, columns: number): RingMatrix;
  /** out [m, columns] = x [m, rows] times matrix [rows, columns]. out must not alias x. */
  matmul(out: BigUint64Array, x: BigUint64Array, matrix: RingMatrix): void;
  /**
   * out [m, columns] = x [m, rows] times the keystream matrix, or its transpose: out [m, rows] =
   * x [m, columns] times it. Made and used slab by slab. out must not alias x.
   */
  matmulKeystream(out: BigUint64Array, x: BigUint64Array, matrix: KeystreamMatrix): void;

  /**
   * Constant attention: row i of out [s - start, columns] is, per head h, the sum over
   * j <= start + i of weights[h, start + i, j] x[j, head slice h]; x [s, columns], weights
   * [heads, T, T] or the rows of it that `dims.held` names, as ring words or as signed int16. out
   * must not alias x or weights.
   */
  attend(
    out: BigUint64Array,
    x: BigUint64Array,
    weights: BigUint64Array | Int16Array,
    dims: AttentionDims,
  ): void;

  /**
   * ChaCha12 keystream in standard block order (RFC 8439 state layout: 32-byte key, 32-bit block
   * counter starting at `counter`, 12-byte nonce, 12 rounds), filling `out` entirely.
   */
  chacha12(out: Uint8Array, key: Uint8Array, nonce: Uint8Array, counter: number): void;

  /**
   * Distributed comparison function over the domain 0..2^domainBits-1, payload of `words` ring
   * words (Boyle et al. 2021, "FSS for mixed-mode computation", BCG+ construction, ChaCha12 as
   * PRG). Shares of [x < alpha] * payload.
   * Source: Boyle, Chandran, Gilboa, Gupta, Ishai, Kumar, Rathee, EUROCRYPT 2021, Fig. 1.
   */
  dcfGenerate(options: GenerateOptions): [Uint8Array, Uint8Array];
  /** Many key pairs: all of party 0's keys, one after the other, and all of party 1's. */
  dcfGenerateMany(options: GenerateManyOptions): [Uint8Array, Uint8Array];
  /**
   * Evaluates one key at every point: out [points, words]; party 0's and party 1's outputs sum
   * to [point < alpha] * payload. Points must be below 2^domainBits.
   */
  dcfEvaluate(options: EvaluateOptions): void;
  dcfEvaluateMany(options: EvaluateManyOptions): void;
  /** Bytes of one party's key, the same in every implementation. */
  dcfKeyBytes(shape: FunctionShape): number;

  /** Distributed point function: shares of [x = alpha] * payload, same conventions. */
  dpfGenerate(options: GenerateOptions): [Uint8Array, Uint8Array];
  dpfGenerateMany(options: GenerateManyOptions): [Uint8Array, Uint8Array];
  dpfEvaluate(options: EvaluateOptions): void;
  dpfEvaluateMany(options: EvaluateManyOptions): void;
  dpfKeyBytes(shape: FunctionShape): number;

  /** Shares of a piecewise polynomial at many entries, modulo 2^64. */
  piecewise(options: PiecewiseOptions): void;

  /** Ends the kernels' threads, if they have any; they then work on the caller's alone. */
  close(): void;
}

/** The part of the ring kernels that deals and evaluates function-secret-sharing keys. */
export type FunctionKernels = Pick<
  RingKernels,
  "functionPrgs" | Extract<keyof RingKernels, `dcf${string}` | `dpf${string}`>
>;
