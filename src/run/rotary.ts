// Rotary position embedding (Su et al. 2021, RoFormer, eq. 34), pairs (2i, 2i + 1) as in llama2.c.

export interface RotaryOptions {
  readonly rows: number;
  /** An even number. */
  readonly columns: number;
  /** Position of row 0 of each matrix. */
  readonly start: number;
  readonly base: number;
  /** Turn the other way: the inverse, which is also the transpose. */
  readonly back?: boolean | undefined;
}

/** x [..., rows, columns] with each pair of columns turned by its row's angle; out may be x. */
export function rotateRows(
  x: Float32Array,
  { rows, columns, start, base, back = false }: RotaryOptions,
  out: Float32Array,
): void {
  const turns = rotaryTurns({ rows, columns, start, base });
  for (let from = 0; from < out.length; from += rows * columns) {
    for (let i = 0; i < rows * columns; i += 2) {
      const cosine = turns[i]!;
      const sine = back ? -turns[i + 1]! : turns[i + 1]!;
      const first = x[from + i]!;
      const second = x[from + i + 1]!;
      out[from + i] = first * cosine - second * sine;
      out[from + i + 1] = first * sine + second * cosine;
    }
  }
}

/** Cosine and sine of each pair's angle, (start + row) base^(-2i / columns): [rows, columns]. */
export function rotaryTurns({
  rows,
  columns,
  start,
  base,
}: Omit<RotaryOptions, "back">): Float64Array {
  const turns = new Float64Array(rows * columns);
  for (let pair = 0; pair < columns; pair += 2) {
    const speed = base ** (-pair / columns);
    for (let row = 0; row < rows; row++) {
      const angle = (start + row) * speed;
      turns[row * columns + pair] = Math.cos(angle);
      turns[row * columns + pair + 1] = Math.sin(angle);
    }
  }
  return turns;
}
