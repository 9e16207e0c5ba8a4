// 1. A model in the clear, in two arithmetics.
//
// Float32 is what a model is trained in. The fixed mode computes in integers modulo 2^64 with
// truncations, just as the parties of a private generation do, but on values instead of shares: if
// the two texts agree, the model stands the arithmetic.
//
//   node examples/01-in-the-clear.ts [MODEL] [PROMPT]

import {
  fixedBench,
  floatBench,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
} from "../src/index.ts";

const [folder = "models/e2e-merge", prompt = "name[The Eagle], food[French], area[riverside]"] =
  process.argv.slice(2);

const model = await loadModel(folder); // config.json, model.safetensors and tokenizer.json
console.log(`recipe ${model.config.recipe}, ${model.config.layerCount} layers`);

// All randomness of the fixed mode (it rounds at random) follows from the last argument.
const benches = [
  floatBench(model, await loadFloatKernels()),
  fixedBench(model, await loadRingKernels(), 1),
];
for (const bench of benches) {
  const { mode, text, tokens, stopped, online } = await bench({ prompt });
  const seconds = online.seconds.toFixed(3);
  console.log(`${mode}: ${text}`);
  console.log(`  ${tokens.length} tokens in ${seconds} s, stopped by ${stopped}`);
}
