// How fast are the float32 kernels on one thread? Products in the shapes of decoding and of
// training, and elementwise kernels.

import { type FloatKernels, loadFloatKernels } from "../../src/index.ts";
import type { BenchContext, Group } from "../context.ts";
import { makeRow, type Row } from "../rows.ts";
import { timeCalls } from "../timing.ts";
import { limitedBy, readLimit } from "./limits.ts";

interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly what: string;
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

const products: readonly Product[] = [
  { m: 1, n: 3072, k: 768, what: "one row of GPT-2's size" },
  { m: 1, n: 768, k: 3072, what: "one row, the way back" },
  { m: 1, n: 50257, k: 768, what: "one row, tied head", transposeB: true },
  { m: 1000, n: 768, k: 768, what: "square" },
  { m: 1000, n: 192, k: 192, what: "attention projection" },
  { m: 1000, n: 768, k: 192, what: "first FFN matrix" },
  { m: 1000, n: 192, k: 768, what: "second FFN matrix" },
  { m: 1000, n: 768, k: 192, what: "FFN gradient by input", transposeB: true },
  { m: 192, n: 768, k: 1000, what: "FFN gradient by weight", transposeA: true },
  { m: 1000, n: 2000, k: 192, what: "vocabulary head" },
  { m: 3000, n: 256, k: 1024, what: "large batch" },
  { m: 64, n: 32, k: 64, what: "one attention head" },
];

function filled(length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i));
}

/** One row is a matter of reading the matrix, many rows of multiplying. */
function productRow(
  kernels: FloatKernels,
  context: BenchContext,
  { what, ...shape }: Product,
): Row {
  const { m, n, k } = shape;
  const operands = { a: filled(m * k), b: filled(k * n), out: new Float32Array(m * n) };
  const seconds = timeCalls(() => kernels.gemm({ ...shape, ...operands }), context.budgetMs);
  const limited = limitedBy(context, (limits) => {
    if (m > 1) return { name: "multiply-adds", value: limits.multiplyAddsF32 / 1e9 };
    const { name, value } = readLimit(limits, 4 * n * k);
    return { name, value: value / 4e9 };
  });
  return makeRow({
    name: `${m === 1 ? "gemv" : "gemm"} ${m} x ${n} x ${k}, ${what}`,
    unit: "G mul-add/s",
    better: "more",
    samples: seconds.map((each) => (m * n * k) / each / 1e9),
    ...limited,
  });
}

function elementwiseRows(kernels: FloatKernels, budgetMs: number): Row[] {
  const [rows, columns, heads] = [1000, 768, 12];
  const count = rows * columns;
  const [x, dy, out] = [filled(count), filled(count), new Float32Array(count)];
  const [weights, firstMoment] = [filled(count), filled(count)];
  const secondMoment = filled(count).map((value) => value * value);
  const rates = { learningRate: 1e-6, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.1 };
  const mix = { heads, rows, columns, coefficients: filled(heads * rows) };
  const row = new Float32Array(columns);
  const moments = { firstMoment, secondMoment };
  const cases: Record<string, () => void> = {
    "constant attention, one row of 1000": () => kernels.mixHeads({ ...mix, x, out: row }),
    "gelu, tanh": () => kernels.gelu({ form: "tanh", x, out }),
    "gelu, erf": () => kernels.gelu({ form: "erf", x, out }),
    "gelu gradient, tanh": () => kernels.geluGradient({ form: "tanh", x, dy, out }),
    "softmax, 768 columns": () => kernels.softmax({ rows, columns, x, out }),
    "causal softmax, 64 x 64": () =>
      kernels.softmax({ rows: count / 64, columns: 64, causalRows: 64, x, out }),
    adamw: () => kernels.adamw({ weights, gradients: dy, ...moments, ...rates, step: 10 }),
  };
  return Object.entries(cases).map(([name, call]) => {
    const samples = timeCalls(call, budgetMs).map((seconds) => (seconds * 1e9) / count);
    return makeRow({ name, unit: "ns an element", better: "less", samples });
  });
}

async function run(context: BenchContext): Promise<Row[]> {
  const kernels = await loadFloatKernels();
  return [
    ...products.map((product) => productRow(kernels, context, product)),
    ...elementwiseRows(kernels, context.budgetMs),
  ];
}

export const floatKernels: Group = {
  name: "float-kernels",
  question: "float32 kernels on one thread, against the machine's limits",
  run,
};
