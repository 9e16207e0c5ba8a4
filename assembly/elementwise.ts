// Elementwise loops over vectors of u64; `count` in words. Results may alias operands.

export function add(out: usize, a: usize, b: usize, count: usize): void {
  const pairs = count >> 1;
  for (let i: usize = 0; i < pairs; i++) {
    v128.store(out + (i << 4), i64x2.add(v128.load(a + (i << 4)), v128.load(b + (i << 4))));
  }
  if (count & 1) {
    const last = (count - 1) << 3;
    store<u64>(out + last, load<u64>(a + last) + load<u64>(b + last));
  }
}

export function sub(out: usize, a: usize, b: usize, count: usize): void {
  const pairs = count >> 1;
  for (let i: usize = 0; i < pairs; i++) {
    v128.store(out + (i << 4), i64x2.sub(v128.load(a + (i << 4)), v128.load(b + (i << 4))));
  }
  if (count & 1) {
    const last = (count - 1) << 3;
    store<u64>(out + last, load<u64>(a + last) - load<u64>(b + last));
  }
}

// Products use scalar multiplications: one 64-bit multiply beats the emulated i64x2.mul.

export function mul(out: usize, a: usize, b: usize, count: usize): void {
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) {
    store<u64>(out + i, load<u64>(a + i) * load<u64>(b + i));
  }
}

export function scale(out: usize, a: usize, factor: u64, count: usize): void {
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) store<u64>(out + i, load<u64>(a + i) * factor);
}

/** out = old + a * factor */
export function addScaled(out: usize, a: usize, old: usize, factor: u64, count: usize): void {
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) {
    store<u64>(out + i, load<u64>(old + i) + load<u64>(a + i) * factor);
  }
}

export function addConstant(out: usize, a: usize, constant: u64, count: usize): void {
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) store<u64>(out + i, load<u64>(a + i) + constant);
}

export function shiftRight(out: usize, a: usize, bits: u32, count: usize): void {
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) store<u64>(out + i, load<u64>(a + i) >> (bits as u64));
}

export function shiftRightSigned(out: usize, a: usize, bits: u32, count: usize): void {
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) store<i64>(out + i, load<i64>(a + i) >> (bits as i64));
}

/** Sum of `count` words. */
export function sum(a: usize, count: usize): u64 {
  let total: u64 = 0;
  const end = count << 3;
  for (let i: usize = 0; i < end; i += 8) total += load<u64>(a + i);
  return total;
}

/** out[i] = sum of row i of a [rows, width]. */
export function sumRows(out: usize, a: usize, width: usize, rows: usize): void {
  for (let row: usize = 0; row < rows; row++) {
    store<u64>(out + (row << 3), sum(a + ((row * width) << 3), width));
  }
}
