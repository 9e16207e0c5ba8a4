// Constant attention as a sum of parts: its own entries, a part that all rows share (by source) and
// a part that all places of one distance share. Training learns the shared parts many times
// faster, since every position contributes to their gradient; export adds them up.

/** base [heads, T, T] + column [heads, j] + relative [heads, i - j] for j <= i, else 0. */
export function attentionPattern(
  base: Float32Array,
  { column, relative }: { column: Float32Array; relative: Float32Array },
  positions: number,
  out: Float32Array,
): void {
  out.fill(0);
  const heads = base.length / (positions * positions);
  for (let head = 0; head < heads; head++) {
    const shared = head * positions;
    for (let i = 0; i < positions; i++) {
      const row = (shared + i) * positions;
      for (let j = 0; j <= i; j++) {
        out[row + j] = base[row + j]! + column[shared + j]! + relative[shared + i - j]!;
      }
    }
  }
}

/** Adds the gradient of the parts, [base, column, relative], where they are wanted. */
export function attentionPatternBackward(
  dy: Float32Array,
  positions: number,
  [base, column, relative]: readonly (Float32Array | undefined)[],
): void {
  const heads = dy.length / (positions * positions);
  for (let head = 0; head < heads; head++) {
    const shared = head * positions;
    for (let i = 0; i < positions; i++) {
      const row = (shared + i) * positions;
      for (let j = 0; j <= i; j++) {
        const gradient = dy[row + j]!;
        if (base) base[row + j]! += gradient;
        if (column) column[shared + j]! += gradient;
        if (relative) relative[shared + i - j]! += gradient;
      }
    }
  }
}
