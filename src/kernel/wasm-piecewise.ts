// Piecewise polynomials in WebAssembly: lays out operands, table and scratch for the calls of
// assembly/piecewise.ts, and cuts big jobs into calls for several threads.

import { checkPrg, keyBytesOf } from "./function-key.ts";
import { checkPiecewise } from "./ring-checks.ts";
import type { PiecewiseOptions } from "./ring-kernels.ts";
import { type Call, cut, type Runner } from "./wasm-exports.ts";
import type { WasmMemory } from "./wasm-memory.ts";
import { evaluateBytes, wasmPrgs } from "./wasm-tree.ts";

/** Entries brought into the module's memory at one time, for each thread; some 250 kB of keys. */
const chunkEntries = 512;
/** Entries that a thread is called for: some 40 us. */
const leastEntries = 16;
/** Points whose nodes a call holds side by side: 128 to 1024 take the same time on one thread. */
const sidePoints = 256;
/** The table's, as in assembly/piecewise.ts. */
const headBytes = 32;
const rowWords = 11;
const degree = 3;

const roundUp = (bytes: number) => Math.ceil(bytes / 64) * 64;

/** See RingKernels.piecewise. */
export function piecewise(
  options: PiecewiseOptions,
  at: { memory: WasmMemory; runner: Runner },
): void {
  checkPrg("dcf", options, wasmPrgs);
  const shape = shapeOf(options);
  checkPiecewise(options, shape.keyBytes);
  const { a, keys, powers, out } = options;
  const step = chunkEntries * at.runner.threads;
  for (let from = 0; from < a.length; from += step) {
    const to = Math.min(from + step, a.length);
    const part = {
      ...options,
      a: a.subarray(from, to),
      keys: keys.subarray(from * shape.keyBytes, to * shape.keyBytes),
      powers: powers.map((power) => power.subarray(from, to)),
      out: out.subarray(from, to),
    };
    chunk(part, shape, at);
  }
}

interface Shape {
  readonly words: number;
  readonly knots: number;
  readonly keyBytes: number;
  /** Entries evaluated side by side. */
  readonly sideBySide: number;
}

function shapeOf({ domainBits, blockBits, offsets, first }: PiecewiseOptions): Shape {
  const [words, knots] = [first.length, offsets.length];
  const keyBytes = keyBytesOf("dcf", { domainBits: domainBits - blockBits, words });
  return { words, knots, keyBytes, sideBySide: Math.max(1, Math.floor(sidePoints / knots)) };
}

function chunk(
  options: PiecewiseOptions,
  shape: Shape,
  { memory, runner }: { memory: WasmMemory; runner: Runner },
): void {
  const { a, keys, powers, out, domainBits, blockBits, party } = options;
  const { words, knots, keyBytes, sideBySide } = shape;
  const rows = rowsOf(options);
  const parts = cut(a.length, leastEntries, runner);
  const points = knots * sideBySide;
  const workBytes = roundUp(8 * points * (1 + words) + evaluateBytes(points, words));
  const tableAt = parts.length * workBytes;
  const keysAt = tableAt + roundUp(headBytes + 8 * rows.length);
  const entriesAt = keysAt + roundUp(keys.length);
  const powersAt = entriesAt + 8 * a.length;
  const outAt = powersAt + 8 * a.length * powers.length;
  const scratch = memory.scratch(outAt + 8 * out.length, a, keys, out, ...powers);
  const table = scratch + tableAt;
  const head = [words, domainBits, blockBits, party, keyBytes, knots, sideBySide];
  memory.put(new Uint8Array(Uint32Array.from(head).buffer), table);
  memory.put(rows, table + headBytes);
  powers.forEach((power, j) => {
    memory.put(power, scratch + powersAt + 8 * a.length * j);
  });
  const keysFrom = memory.bring(keys, scratch + keysAt);
  const entries = memory.bring(a, scratch + entriesAt);
  const to = memory.addressOf(out) ?? scratch + outAt;
  const calls = parts.map(([first, end], i): Call => {
    const args = [
      to + 8 * first,
      keysFrom + first * keyBytes,
      end - first,
      entries + 8 * first,
      scratch + powersAt + 8 * first,
      8 * a.length,
      table,
      scratch + i * workBytes,
    ];
    return { name: "piecewise", args };
  });
  runner.run(calls);
  memory.take(out, to);
}

const flattened = new WeakMap<object, BigUint64Array>();

/** The table's rows: each knot's offset and coefficients, then those of the first piece. */
function rowsOf({ offsets, coefficients, first }: PiecewiseOptions): BigUint64Array {
  const known = flattened.get(coefficients);
  if (known) return known;
  const rows = new BigUint64Array((offsets.length + 1) * rowWords);
  for (let k = 0, at = 0; k <= offsets.length; k++) {
    const [lists, from] = k < offsets.length ? [coefficients, k * first.length] : [first, 0];
    rows[at++] = offsets[k] ?? 0n;
    for (let j = 0; j <= degree; j++) {
      // The factor of r^j has no power of x above the degree less j.
      for (let i = 0; i <= degree - j; i++) {
        rows[at++] = i + j < first.length ? lists[i][from + j] : 0n;
      }
    }
  }
  flattened.set(coefficients, rows);
  return rows;
}
