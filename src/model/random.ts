// Seeded pseudo-random numbers for initial weights and training data order: xoshiro128** (Blackman
// and Vigna, 2018), seeded by splitmix32. Not for secrets: masks and shares have another generator.

export class Random {
  readonly #state = new Uint32Array(4);

  /** A stream of its own for each list of whole numbers. */
  constructor(...seeds: number[]) {
    let h = 0x9e3779b9;
    for (const seed of seeds) {
      h = mix(h ^ (seed >>> 0));
      h = mix(h ^ Math.floor(seed / 2 ** 32));
    }
    for (let i = 0; i < 4; i++) this.#state[i] = h = mix((h + 0x9e3779b9) >>> 0);
  }

  /** 0..2^32-1. */
  word(): number {
    const s = this.#state;
    const product = Math.imul(s[1], 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.word() / 2 ** 32;
  }

  /** A whole number below the bound; the bias is below 2^-20 for bounds up to 4096. */
  below(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal (Box and Muller). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log((this.word() + 0.5) / 2 ** 32));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /**
   * Fills data with entries of a table of 2^16, each as likely as the others: a normal number costs
   * a look-up instead of a logarithm and a cosine (2 ns instead of 40).
   */
  fillFrom(table: Float32Array, data: Float32Array): void {
    let [a, b, c, d] = this.#state;
    for (let i = 0; i < data.length; i += 2) {
      const product = Math.imul(b, 5);
      const word = Math.imul((product << 7) | (product >>> 25), 9);
      const t = b << 9;
      c ^= a;
      d ^= b;
      b ^= c;
      a ^= d;
      c ^= t;
      d = (d << 11) | (d >>> 21);
      data[i] = table[word & 0xffff];
      if (i + 1 < data.length) data[i + 1] = table[word >>> 16];
    }
    this.#state.set([a, b, c, d]);
  }

  shuffle<T extends { length: number; [index: number]: number }>(list: T): T {
    for (let i = list.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const kept = list[i];
      list[i] = list[j];
      list[j] = kept;
    }
    return list;
  }
}

function mix(word: number): number {
  let h = word >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  return (h ^ (h >>> 15)) >>> 0;
}
