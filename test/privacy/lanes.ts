// All random choices at once. On a small ring a gate's whole randomness can be enumerated; since
// every gate works row by row, one run over 2^n rows ("lanes") stands for 2^n runs, one for each
// value of all variables. lanes.test.ts checks that a lane is what a run of its own would be.

import type { RingKernels } from "../../src/kernel/ring-kernels.ts";
import type { Place, Purpose, Randomness } from "../../src/ring/prg.ts";
import { Prg } from "../../src/ring/prg.ts";
import type { Words } from "../../src/ring/ring.ts";
import { seedOf } from "./harness.ts";

/** Most lanes of one enumeration. */
const MOST_BITS = 21;

/** What a fault does to a draw: gives it another variable's name, or makes it constant zero. */
export type Fault = (party: string, place: Place, purpose: Purpose) => string | "zero" | undefined;

interface Variable {
  readonly bits: number;
  /** Lowest bit of the lane's number that holds it. */
  readonly offset: number;
}

/**
 * Variables are found in a first run of one lane; after `freeze` there is a lane for each
 * combination of their values, or as many pseudo-random lanes as `sampled` says.
 */
export class Lanes {
  count = 1;
  readonly #variables = new Map<string, Variable>();
  readonly #sampled: { readonly kernels: RingKernels; readonly lanes: number } | undefined;
  /** Whether words of several a lane lie plane by plane: see Experiment. */
  readonly #planes: boolean;
  #bits = 0;
  #frozen = false;

  constructor(sampled?: { readonly kernels: RingKernels; readonly lanes: number }, planes = false) {
    this.#sampled = sampled;
    this.#planes = planes;
  }

  /** A uniform variable, one word a lane. Asked for again, it is the same. */
  variable(name: string, bits: number): Words {
    const known = this.#variables.get(name);
    if (known && known.bits !== bits) throw new Error(`variable ${name} has two widths`);
    if (!known) {
      if (this.#frozen) throw new Error(`variable ${name} was not found in the first run`);
      this.#variables.set(name, { bits, offset: this.#bits });
      this.#bits += bits;
    }
    return this.#values(name);
  }

  /** Several variables a lane. */
  variables(name: string, bits: number, perLane: number): Words {
    const columns = Array.from({ length: perLane }, (_, k) => this.variable(`${name}#${k}`, bits));
    return this.interleave(columns);
  }

  /** Columns of one word a lane each, put lane after lane, or one after the other as planes. */
  interleave(columns: readonly Words[]): Words {
    const width = columns.length;
    if (width === 1) return columns[0]!;
    const out = new BigUint64Array(this.count * width);
    const [step, start] = this.#planes ? [1, this.count] : [width, 1];
    columns.forEach((column, k) => {
      for (let lane = 0; lane < this.count; lane++) out[lane * step + k * start] = column[lane]!;
    });
    return out;
  }

  /** Words as gates have them, put lane after lane. */
  byLane(words: Words): Words {
    const width = words.length / this.count;
    if (!this.#planes || width === 1) return words;
    return BigUint64Array.from(
      words,
      (_, i) => words[(i % width) * this.count + Math.floor(i / width)]!,
    );
  }

  /** The same words in every lane. */
  constant(words: readonly bigint[], mask: bigint): Words {
    return this.interleave(words.map((word) => new BigUint64Array(this.count).fill(word & mask)));
  }

  /** Names of variables that start so, in order. */
  names(prefix: string): string[] {
    return [...this.#variables.keys()].filter((name) => name.startsWith(prefix));
  }

  bitsOf(name: string): number {
    return this.#variables.get(name)!.bits;
  }

  freeze(): void {
    this.#frozen = true;
    if (!this.#sampled && this.#bits > MOST_BITS) {
      throw new Error(`${this.#bits} random bits are too many to enumerate`);
    }
    this.count = this.#sampled ? this.#sampled.lanes : 2 ** this.#bits;
  }

  /** A party's randomness: its words are variables, named by party, gate and purpose. */
  randomness(party: string, fault?: Fault): Randomness {
    return {
      words: (place, purpose, count, bits) => {
        const perLane = count / this.count;
        if (!Number.isInteger(perLane)) throw new Error("words are not drawn lane by lane");
        const name = fault?.(party, place, purpose) ?? `${party}/${place.gate}.${purpose}`;
        if (name === "zero") return new BigUint64Array(count);
        return this.variables(name, bits, perLane);
      },
      bytes: (_place, _purpose, count) => new Uint8Array(count),
    };
  }

  #values(name: string): Words {
    const { bits, offset } = this.#variables.get(name)!;
    if (this.#sampled && this.#frozen) {
      const prg = new Prg(this.#sampled.kernels, seedOf(offset));
      return prg.words({ segment: 0, gate: 0 }, "mask", this.count, bits);
    }
    const words = new BigUint64Array(this.count);
    const low = new Uint32Array(words.buffer);
    const mask = 2 ** bits - 1;
    for (let lane = 0; lane < this.count; lane++) low[2 * lane] = (lane >>> offset) & mask;
    return words;
  }
}

/** Words of one width, `perLane` a lane. */
export interface Field {
  readonly name: string;
  readonly words: Words;
  readonly bits: number;
}

/** What a party saw, lane by lane, as one number each. */
export function keysOf(
  fields: readonly Field[],
  lanes: number,
): { keys: Float64Array; bits: number } {
  const keys = new Float64Array(lanes);
  let bits = 0;
  for (const { name, words, bits: width } of fields) {
    const perLane = words.length / lanes;
    if (!Number.isInteger(perLane)) throw new Error(`field ${name} is not lane by lane`);
    for (let k = 0; k < perLane; k++) {
      const scale = 2 ** bits;
      const low = new Uint32Array(words.buffer, words.byteOffset, 2 * words.length);
      for (let lane = 0; lane < lanes; lane++)
        keys[lane]! += scale * low[2 * (lane * perLane + k)]!;
      bits += width;
    }
  }
  if (bits > 53) throw new Error(`a view of ${bits} bits does not fit a number`);
  return { keys, bits };
}

/** One party's view in every lane, and what it is entitled to know besides, if anything. */
export interface Observation {
  readonly lanes: number;
  readonly view: readonly Field[];
  readonly given: readonly Field[];
}

/**
 * The greatest statistical distance between the distributions of a view under two secrets, given
 * what the party is entitled to know: 0 exactly if they are the same, by integer counts.
 */
export function greatestDistance(observations: readonly Observation[]): number {
  const firstSeen = new Map<number, Histogram>();
  let greatest = 0;
  for (const observation of observations) {
    for (const [given, histogram] of conditional(observation)) {
      const other = firstSeen.get(given);
      if (!other) firstSeen.set(given, histogram);
      else greatest = Math.max(greatest, distance(histogram, other));
    }
  }
  return greatest;
}

/** How often each view occurs, views ascending. */
interface Histogram {
  readonly views: number[];
  readonly counts: number[];
}

/** A histogram for each value of what is given. */
function conditional({ lanes, view, given }: Observation): Map<number, Histogram> {
  const seen = keysOf(view, lanes);
  const known = keysOf(given, lanes);
  if (seen.bits + known.bits > 53) throw new Error("view and given do not fit a number");
  const scale = 2 ** seen.bits;
  const joint = known.keys.map((key, lane) => key * scale + seen.keys[lane]!).sort();
  const out = new Map<number, Histogram>();
  for (let at = 0; at < joint.length; ) {
    const key = joint[at]!;
    let end = at + 1;
    while (end < joint.length && joint[end] === key) end++;
    const knownKey = Math.floor(key / scale);
    let histogram = out.get(knownKey);
    if (!histogram) out.set(knownKey, (histogram = { views: [], counts: [] }));
    histogram.views.push(key - knownKey * scale);
    histogram.counts.push(end - at);
    at = end;
  }
  return out;
}

/** Half the sum of differences, from integers alone until the last division. */
function distance(a: Histogram, b: Histogram): number {
  const total = ({ counts }: Histogram) => counts.reduce((x, y) => x + y, 0);
  const [totalA, totalB] = [total(a), total(b)];
  let sum = 0;
  for (let i = 0, j = 0; i < a.views.length || j < b.views.length; ) {
    const [left, right] = [a.views[i] ?? Infinity, b.views[j] ?? Infinity];
    const countA = left <= right ? a.counts[i++]! : 0;
    const countB = right <= left ? b.counts[j++]! : 0;
    sum += Math.abs(countA * totalB - countB * totalA);
  }
  return sum / (2 * totalA * totalB);
}
