// How fast are the float32 kernels on one thread? GFLOP/s of products in the shapes of training,
// ns an element of the elementwise kernels: median and spread (quartiles) over repeated calls.
// Usage: node bench/float-kernels.ts [native|wasm|reference] [milliseconds a line]

import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import { describeFloatKernels, loadFloatKernels } from "../src/kernel/float-load.ts";

type Kernels = Awaited<ReturnType<typeof loadFloatKernels>>;

const shapes = [
  { m: 1000, n: 192, k: 192, what: "attention projection" },
  { m: 1000, n: 768, k: 192, what: "first FFN matrix" },
  { m: 1000, n: 192, k: 768, what: "second FFN matrix" },
  { m: 1000, n: 768, k: 192, what: "FFN gradient by input", transposeB: true },
  { m: 192, n: 768, k: 1000, what: "FFN gradient by weight", transposeA: true },
  { m: 1000, n: 768, k: 768, what: "square" },
  { m: 1000, n: 2000, k: 192, what: "vocabulary head" },
  { m: 3000, n: 256, k: 1024, what: "large batch" },
  { m: 64, n: 32, k: 64, what: "one attention head" },
  { m: 1, n: 768, k: 192, what: "one row" },
  { m: 1, n: 3072, k: 768, what: "one row of GPT-2's size" },
  { m: 1, n: 768, k: 3072, what: "one row, the way back" },
  { m: 1, n: 50257, k: 768, what: "one row, tied head", transposeB: true },
];

function filled(length: number): Float32Array {
  return Float32Array.from({ length }, (_, i) => Math.sin(i));
}

/** Median and quartiles of a call's time in ns; very short calls are timed in groups. */
function time(budgetMs: number, call: () => void): [number, number, number] {
  const warmEnd = performance.now() + budgetMs / 5;
  let warmCalls = 0;
  const warmStart = performance.now();
  do {
    call();
    warmCalls++;
  } while (performance.now() < warmEnd);
  const callMs = (performance.now() - warmStart) / warmCalls;
  const group = Math.max(1, Math.floor(0.05 / callMs));
  const samples: number[] = [];
  const end = performance.now() + budgetMs;
  do {
    const start = performance.now();
    for (let i = 0; i < group; i++) call();
    samples.push(((performance.now() - start) * 1e6) / group);
  } while (performance.now() < end || samples.length < 3);
  samples.sort((x, y) => x - y);
  const at = (share: number) => samples[Math.floor(share * (samples.length - 1))];
  return [at(0.5), at(0.25), at(0.75)];
}

function printLine(name: string, unit: string, figures: number[]): void {
  const [median, low, high] = figures.map((x) => x.toFixed(x < 10 ? 2 : 1));
  console.log(`${name.padEnd(48)} ${median.padStart(7)} ${unit}  (${low} .. ${high})`);
}

function benchProducts(kernels: Kernels, budgetMs: number): void {
  for (const { what, ...shape } of shapes) {
    const { m, n, k } = shape;
    const operands = { a: filled(m * k), b: filled(k * n), out: new Float32Array(m * n) };
    const [median, fast, slow] = time(budgetMs, () => kernels.gemm({ ...shape, ...operands }));
    const rates = [median, slow, fast].map((ns) => (2 * m * n * k) / ns);
    printLine(`gemm ${m} x ${n} x ${k}, ${what}`, "GFLOP/s", rates);
  }
}

function benchElementwise(kernels: Kernels, budgetMs: number): void {
  const rows = 1000;
  const columns = 768;
  const count = rows * columns;
  const x = filled(count);
  const dy = filled(count);
  const out = new Float32Array(count);
  const [weights, firstMoment, secondMoment] = [filled(count), filled(count), filled(count)];
  secondMoment.forEach((value, i) => {
    secondMoment[i] = value * value;
  });
  const rates = { learningRate: 1e-6, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weightDecay: 0.1 };
  const heads = 12;
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
  for (const [name, call] of Object.entries(cases)) {
    const figures = time(budgetMs, call).map((ns) => ns / count);
    printLine(name, "ns an element", figures);
  }
}

const [prefer = "native", budget = "200"] = process.argv.slice(2);
if (prefer !== "native" && prefer !== "wasm" && prefer !== "reference") {
  throw new Error(`unknown kernels ${prefer}`);
}
const git = spawnSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" });
const commit = git.status === 0 ? git.stdout.trim() : "unknown";
console.log(
  `${cpus()[0].model}, ${cpus().length} cores, node ${process.version}, commit ${commit}`,
);
console.log(await describeFloatKernels({ prefer }));
const kernels = await loadFloatKernels({ prefer });
benchProducts(kernels, Number(budget));
benchElementwise(kernels, Number(budget));
