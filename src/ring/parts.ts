// Long vectors part by part. A chain of elementwise operations over the rows of a prompt writes
// some ten vectors of several MB on its way, each into memory of its own; part by part what it
// writes stays in the second-level cache, and only its results go to memory.

import { ensure } from "../errors.ts";
import { Arena } from "./memory.ts";
import { packedBytes } from "./pack.ts";
import { Ring, type Words } from "./ring.ts";

/** Entries of a part: a multiple of 8, so that packed vectors are cut between bytes. */
const PART = 1 << 12;
/** What is made on the way; overwritten by the next part. */
const scratch = new Arena();
/** Whether a part is being computed, in scratch memory. */
let underWay = false;

/** Entries from .. from + count - 1 of long vectors. */
export interface Part {
  readonly from: number;
  readonly count: number;
  /** Entries of the whole vectors. */
  readonly whole: number;
  /** Its results are gone with the part, but for those that are given back. */
  readonly ring: Ring;
  /** What a vector has of the part; of one with a word for each row, the part's rows. */
  of(words: Words): Words;
}

type Results = Readonly<Record<string, Words | undefined>>;

/** The parts of vectors of `count` entries; `unit` entries that belong together stay so. */
function* partsOf(ring: Ring, count: number, unit: number): Generator<Part> {
  const step = unit * Math.max(1, Math.floor(PART / unit));
  if (count <= Math.max(step, 2 * PART) || ring.memory === scratch) {
    yield { from: 0, count, whole: count, ring, of: (words) => words };
    return;
  }
  ensure(!underWay, "E_INTERNAL", "a part of a long vector is computed on the part's ring alone");
  underWay = true;
  try {
    const inScratch = new Ring(ring.kernels, ring.bits, scratch);
    for (let from = 0; from < count; from += step) {
      const to = Math.min(count, from + step);
      scratch.reset();
      const of = (words: Words) =>
        words.subarray((from * words.length) / count, (to * words.length) / count);
      yield { from, count: to - from, whole: count, ring: inScratch, of };
    }
  } finally {
    underWay = false;
  }
}

/**
 * What `compute` gives for all entries: a word for each entry or for each `unit` of them. It must
 * not refer to a part's words afterwards.
 */
export function byParts<R extends Results>(
  ring: Ring,
  { count, unit = 1 }: { readonly count: number; readonly unit?: number },
  compute: (part: Part) => R,
): R {
  const whole: Record<string, Words> = {};
  for (const part of partsOf(ring, count, unit)) {
    const made = compute(part);
    if (part.count === count) return made;
    for (const [name, words] of Object.entries(made)) {
      if (!words) continue;
      whole[name] ??= ring.words((words.length * count) / part.count);
      whole[name].set(words, (words.length * part.from) / part.count);
    }
  }
  return whole as R;
}

/** The low `bits` bits of what `compute` gives for each of `count` entries, packed. */
export function packByParts(
  ring: Ring,
  { count, bits }: { readonly count: number; readonly bits: number },
  compute: (part: Part) => Words,
): Uint8Array {
  let whole: Uint8Array | undefined;
  for (const part of partsOf(ring, count, 1)) {
    const bytes = part.ring.pack(compute(part), bits);
    if (part.count === count) return bytes;
    whole ??= ring.memory.bytes(packedBytes(count, bits));
    whole.set(bytes, (part.from * bits) / 8);
  }
  return whole ?? new Uint8Array(0);
}

/**
 * What a packed vector has of the part, which must end between bytes: with units of one entry.
 * @throws E_FRAME when the length is not that of the whole vector, or a bit to spare is set
 */
export function unpackPart(part: Part, bytes: Uint8Array, bits: number): Words {
  const fits = bytes.length === packedBytes(part.whole, bits);
  ensure(fits, "E_FRAME", `expected ${part.whole} words of ${bits} bits`);
  const at = (part.from * bits) / 8;
  const end = part.from + part.count;
  const isCut = end < part.whole && (end * bits) % 8 !== 0;
  ensure(!isCut, "E_INTERNAL", "a part of a packed vector ends within a byte");
  const own = bytes.subarray(at, at + packedBytes(part.count, bits));
  return part.ring.unpack(own, part.count, bits);
}
