// Elementwise loops over vectors of u64; `count` in words. Results may alias operands.
//
// Loops are unrolled by hand to eight words where an operation is cheap: 768 additions take 110 ns
// so, 240 ns with one vector a turn.

/** Words of a turn, in bytes. */
const turnBytes: usize = 64;

/** Bytes of `count` words that whole turns cover. */
// @ts-ignore: decorator
@inline
function turnedBytes(count: usize): usize {
  return (count << 3) & ~(turnBytes - 1);
}

export function add(out: usize, a: usize, b: usize, count: usize): void {
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes, b += turnBytes) {
    v128.store(out, i64x2.add(v128.load(a), v128.load(b)));
    v128.store(out, i64x2.add(v128.load(a, 16), v128.load(b, 16)), 16);
    v128.store(out, i64x2.add(v128.load(a, 32), v128.load(b, 32)), 32);
    v128.store(out, i64x2.add(v128.load(a, 48), v128.load(b, 48)), 48);
  }
  for (; out < end; out += 8, a += 8, b += 8) store<u64>(out, load<u64>(a) + load<u64>(b));
}

export function sub(out: usize, a: usize, b: usize, count: usize): void {
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes, b += turnBytes) {
    v128.store(out, i64x2.sub(v128.load(a), v128.load(b)));
    v128.store(out, i64x2.sub(v128.load(a, 16), v128.load(b, 16)), 16);
    v128.store(out, i64x2.sub(v128.load(a, 32), v128.load(b, 32)), 32);
    v128.store(out, i64x2.sub(v128.load(a, 48), v128.load(b, 48)), 48);
  }
  for (; out < end; out += 8, a += 8, b += 8) store<u64>(out, load<u64>(a) - load<u64>(b));
}

// Products use scalar multiplications: one 64-bit multiply beats the emulated i64x2.mul.

export function mul(out: usize, a: usize, b: usize, count: usize): void {
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes, b += turnBytes) {
    store<u64>(out, load<u64>(a) * load<u64>(b));
    store<u64>(out, load<u64>(a, 8) * load<u64>(b, 8), 8);
    store<u64>(out, load<u64>(a, 16) * load<u64>(b, 16), 16);
    store<u64>(out, load<u64>(a, 24) * load<u64>(b, 24), 24);
    store<u64>(out, load<u64>(a, 32) * load<u64>(b, 32), 32);
    store<u64>(out, load<u64>(a, 40) * load<u64>(b, 40), 40);
    store<u64>(out, load<u64>(a, 48) * load<u64>(b, 48), 48);
    store<u64>(out, load<u64>(a, 56) * load<u64>(b, 56), 56);
  }
  for (; out < end; out += 8, a += 8, b += 8) store<u64>(out, load<u64>(a) * load<u64>(b));
}

export function scale(out: usize, a: usize, factor: u64, count: usize): void {
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes) {
    store<u64>(out, load<u64>(a) * factor);
    store<u64>(out, load<u64>(a, 8) * factor, 8);
    store<u64>(out, load<u64>(a, 16) * factor, 16);
    store<u64>(out, load<u64>(a, 24) * factor, 24);
    store<u64>(out, load<u64>(a, 32) * factor, 32);
    store<u64>(out, load<u64>(a, 40) * factor, 40);
    store<u64>(out, load<u64>(a, 48) * factor, 48);
    store<u64>(out, load<u64>(a, 56) * factor, 56);
  }
  for (; out < end; out += 8, a += 8) store<u64>(out, load<u64>(a) * factor);
}

/** out = old + a * factor */
export function addScaled(out: usize, a: usize, old: usize, factor: u64, count: usize): void {
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes, old += turnBytes) {
    store<u64>(out, load<u64>(old) + load<u64>(a) * factor);
    store<u64>(out, load<u64>(old, 8) + load<u64>(a, 8) * factor, 8);
    store<u64>(out, load<u64>(old, 16) + load<u64>(a, 16) * factor, 16);
    store<u64>(out, load<u64>(old, 24) + load<u64>(a, 24) * factor, 24);
    store<u64>(out, load<u64>(old, 32) + load<u64>(a, 32) * factor, 32);
    store<u64>(out, load<u64>(old, 40) + load<u64>(a, 40) * factor, 40);
    store<u64>(out, load<u64>(old, 48) + load<u64>(a, 48) * factor, 48);
    store<u64>(out, load<u64>(old, 56) + load<u64>(a, 56) * factor, 56);
  }
  for (; out < end; out += 8, a += 8, old += 8) {
    store<u64>(out, load<u64>(old) + load<u64>(a) * factor);
  }
}

export function addConstant(out: usize, a: usize, constant: u64, count: usize): void {
  const both = i64x2.splat(constant);
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes) {
    v128.store(out, i64x2.add(v128.load(a), both));
    v128.store(out, i64x2.add(v128.load(a, 16), both), 16);
    v128.store(out, i64x2.add(v128.load(a, 32), both), 32);
    v128.store(out, i64x2.add(v128.load(a, 48), both), 48);
  }
  for (; out < end; out += 8, a += 8) store<u64>(out, load<u64>(a) + constant);
}

/** The low 1 <= bits <= 64 bits. */
export function lowBits(out: usize, a: usize, bits: i32, count: usize): void {
  const mask = u64.MAX_VALUE >> ((64 - bits) as u64);
  const both = i64x2.splat(mask);
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes) {
    v128.store(out, v128.and(v128.load(a), both));
    v128.store(out, v128.and(v128.load(a, 16), both), 16);
    v128.store(out, v128.and(v128.load(a, 32), both), 32);
    v128.store(out, v128.and(v128.load(a, 48), both), 48);
  }
  for (; out < end; out += 8, a += 8) store<u64>(out, load<u64>(a) & mask);
}

export function shiftRight(out: usize, a: usize, bits: i32, count: usize): void {
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes) {
    v128.store(out, i64x2.shr_u(v128.load(a), bits));
    v128.store(out, i64x2.shr_u(v128.load(a, 16), bits), 16);
    v128.store(out, i64x2.shr_u(v128.load(a, 32), bits), 32);
    v128.store(out, i64x2.shr_u(v128.load(a, 48), bits), 48);
  }
  for (; out < end; out += 8, a += 8) store<u64>(out, load<u64>(a) >> (bits as u64));
}

/** Scalar too: there is no 64-bit arithmetic shift of vectors below AVX-512. */
export function shiftRightSigned(out: usize, a: usize, bits: i32, count: usize): void {
  const by = bits as i64;
  const end = out + (count << 3);
  const turned = out + turnedBytes(count);
  for (; out < turned; out += turnBytes, a += turnBytes) {
    store<i64>(out, load<i64>(a) >> by);
    store<i64>(out, load<i64>(a, 8) >> by, 8);
    store<i64>(out, load<i64>(a, 16) >> by, 16);
    store<i64>(out, load<i64>(a, 24) >> by, 24);
    store<i64>(out, load<i64>(a, 32) >> by, 32);
    store<i64>(out, load<i64>(a, 40) >> by, 40);
    store<i64>(out, load<i64>(a, 48) >> by, 48);
    store<i64>(out, load<i64>(a, 56) >> by, 56);
  }
  for (; out < end; out += 8, a += 8) store<i64>(out, load<i64>(a) >> by);
}

/** Sum of `count` words. */
export function sum(a: usize, count: usize): u64 {
  const end = a + (count << 3);
  const turned = a + turnedBytes(count);
  let even = i64x2.splat(0);
  let odd = i64x2.splat(0);
  for (; a < turned; a += turnBytes) {
    even = i64x2.add(even, i64x2.add(v128.load(a), v128.load(a, 32)));
    odd = i64x2.add(odd, i64x2.add(v128.load(a, 16), v128.load(a, 48)));
  }
  const both = i64x2.add(even, odd);
  let total: u64 = i64x2.extract_lane(both, 0) + i64x2.extract_lane(both, 1);
  for (; a < end; a += 8) total += load<u64>(a);
  return total;
}

/** out[i] = sum of row i of a [rows, width]. */
export function sumRows(out: usize, a: usize, width: usize, rows: usize): void {
  for (let row: usize = 0; row < rows; row++) {
    store<u64>(out + (row << 3), sum(a + ((row * width) << 3), width));
  }
}
