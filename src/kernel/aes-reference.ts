// AES-128 as FIPS 197 describes it, with its table, for the meaning of the "aes128" generator. For
// tests alone: look-ups in a table take a time that depends on what is looked up.

/** Section 5.1.1: the inverse in GF(2^8), here by powers of the generator 3, then an affine map. */
const sBox = makeSBox();

function makeSBox(): Uint8Array {
  const power = new Uint8Array(255);
  const log = new Uint8Array(256);
  for (let i = 0, x = 1; i < 255; i++) {
    power[i] = x;
    log[x] = i;
    x ^= double(x);
  }
  return Uint8Array.from({ length: 256 }, (_, x) => {
    const inverse = x === 0 ? 0 : power[(255 - log[x]) % 255];
    const twice = inverse | (inverse << 8);
    return twice ^ (twice >> 4) ^ (twice >> 5) ^ (twice >> 6) ^ (twice >> 7) ^ 0x63;
  });
}

/** Times x in GF(2^8). */
function double(byte: number): number {
  return ((byte << 1) ^ (byte & 0x80 ? 0x1b : 0)) & 0xff;
}

/** Section 5.2: the 11 round keys of a 16-byte key, [11 * 16]. */
export function expandAesKey(key: Uint8Array): Uint8Array {
  const out = new Uint8Array(11 * 16);
  out.set(key);
  for (let at = 16, constant = 1; at < out.length; at += 4) {
    const last = Array.from(out.subarray(at - 4, at));
    if (at % 16 === 0) {
      const turned = [1, 2, 3, 0].map((from) => sBox[last[from]]);
      turned[0] ^= constant;
      last.splice(0, 4, ...turned);
      constant = double(constant);
    }
    for (let i = 0; i < 4; i++) out[at + i] = out[at - 16 + i] ^ last[i];
  }
  return out;
}

/** Section 5.1: one block. Columns of four bytes follow one another. */
export function encryptAesBlock(roundKeys: Uint8Array, block: Uint8Array): Uint8Array<ArrayBuffer> {
  const state = new Uint8Array(16);
  const shifted = new Uint8Array(16);
  for (let i = 0; i < 16; i++) state[i] = block[i] ^ roundKeys[i];
  for (let round = 1; round <= 10; round++) {
    // SubBytes and ShiftRows: row r of column c comes from column c + r.
    for (let i = 0; i < 16; i++) shifted[i] = sBox[state[(i + 4 * (i & 3)) & 15]];
    if (round < 10) mixColumns(state, shifted);
    else state.set(shifted);
    for (let i = 0; i < 16; i++) state[i] ^= roundKeys[16 * round + i];
  }
  return state;
}

function mixColumns(out: Uint8Array, state: Uint8Array): void {
  for (let i = 0; i < 16; i++) {
    const column = i & ~3;
    const a = state[i];
    const b = state[column + ((i + 1) & 3)];
    const rest = state[column + ((i + 2) & 3)] ^ state[column + ((i + 3) & 3)];
    out[i] = double(a) ^ double(b) ^ b ^ rest;
  }
}
