// What assembly/ring.ts exports. Addresses and counts are u32.

type Numbers = readonly number[];

export interface RingExports {
  heapBase(): number;
  add(out: number, a: number, b: number, count: number): void;
  sub(out: number, a: number, b: number, count: number): void;
  mul(out: number, a: number, b: number, count: number): void;
  scale(out: number, a: number, factor: bigint, count: number): void;
  addScaled(out: number, a: number, old: number, factor: bigint, count: number): void;
  addConstant(out: number, a: number, constant: bigint, count: number): void;
  lowBits(out: number, a: number, bits: number, count: number): void;
  shiftRight(out: number, a: number, bits: number, count: number): void;
  shiftRightSigned(out: number, a: number, bits: number, count: number): void;
  sum(a: number, count: number): bigint;
  sumRows(out: number, a: number, width: number, rows: number): void;
  /** work: 16 bytes. */
  pack(out: number, words: number, count: number, bits: number, work: number): void;
  unpack(out: number, bytes: number, count: number, bits: number, work: number): void;
  packInt16(
    out: number,
    source: number,
    firstRow: number,
    count: number,
    rows: number,
    columns: number,
  ): void;
  packRing: RingExports["packInt16"];
  limbRowBytes(rows: number): number;
  splitLimbs(out: number, x: number, rows: number): void;
  keystreamWorkBytes(): number;
  /** Arguments: out, limbs, panels, m, rows, columns, first and end panel, edge. */
  productInt16(...args: Numbers): void;
  /** Arguments: out, x, panels, m, rows, stride, first and end panel. */
  productRing(...args: Numbers): void;
  /** Arguments: out, x, input, m, rows, columns, transposed, stride, first and end panel, work. */
  productKeystream(...args: Numbers): void;
  /**
   * Arguments: out, x, columns, weights, headBytes, positions, start, count, width, first and end
   * head.
   */
  attendWords(...args: Numbers): void;
  attendInt16(...args: Numbers): void;
  /** Arguments: out, groups, input, state. */
  chachaStream(...args: Numbers): void;
  /**
   * Arguments: keys of party 0 and 1, keyBytes, count, roots, payloads, alphas, domainBits, words,
   * isDcf, purpose, work.
   */
  treeGenerate(...args: Numbers): void;
  /**
   * Arguments: out, keys, keyCount, keyBytes, points, pointsPerKey, party, domainBits, words,
   * isDcf, purpose, work. Returns 0 when a point lies outside the domain.
   */
  treeEvaluate(...args: Numbers): number;
  /** Arguments: out, keys, count, a, powers, bytes from power to power, table, work. */
  piecewise(...args: Numbers): void;
}

/** Exports that take numbers alone and write only where they are told to: fit for any thread. */
export const callNames = [
  "productInt16",
  "productRing",
  "productKeystream",
  "attendWords",
  "attendInt16",
  "chachaStream",
  "treeGenerate",
  "treeEvaluate",
  "piecewise",
] as const;

/** One call of an export on a part of a job. */
export interface Call {
  readonly name: (typeof callNames)[number];
  readonly args: Numbers;
}

/** Runs the calls of a job, in any order or at one time. */
export interface Runner {
  readonly threads: number;
  /** Cuts every job that can be cut, however small; for tests. */
  readonly eager: boolean;
  /** Returns false when a call returned 0. */
  run(calls: readonly Call[]): boolean;
  close(): void;
}

/** The runner without threads. */
export function runInTurn(wasm: RingExports): Runner {
  return {
    threads: 1,
    eager: false,
    run(calls) {
      let good = true;
      for (const { name, args } of calls) if (wasm[name](...args) === 0) good = false;
      return good;
    },
    close() {},
  };
}

/** Parts for each thread, so that a thread that the system stops holds up little work. */
const partsPerThread = 4;

/**
 * Cuts [0, total) into ranges for a runner's threads, of at least `least` each; one range when
 * there are no threads or the whole is small.
 */
export function cut(total: number, least: number, runner: Runner): [number, number][] {
  const most = runner.threads === 1 ? 1 : runner.threads * partsPerThread;
  const parts = Math.max(1, Math.min(most, Math.floor(total / (runner.eager ? 1 : least))));
  if (parts === 1) return [[0, total]];
  const edge = (i: number) => Math.floor((total * i) / parts);
  return Array.from({ length: parts }, (_, i) => [edge(i), edge(i + 1)]);
}
