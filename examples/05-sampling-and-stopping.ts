// 5. How tokens are chosen, when a text ends, and what the client sends back.
//
// The client gets the logits of a chunk of tokens and chooses in the clear, by itself: sampling and
// stopping cost nothing, and nobody learns of them but that a chunk was the last one.
// A model with re-sent embeddings goes on from its own hidden state, so a choice does not steer
// what follows. With an anchor of k the client sends every k-th token back privately, and the model
// goes on from that token, for some more bytes and round trips.
//
//   node examples/05-sampling-and-stopping.ts [MODEL] [PROMPT]

import { insecureSecureBench, loadModel, loadRingKernels } from "../src/index.ts";

const [folder = "models/e2e-merge", prompt = "name[The Eagle], food[French], area[riverside]"] =
  process.argv.slice(2);

// All three parties in one process, with all seeds fixed: for trials alone.
const model = await loadModel(folder);
const generate = await insecureSecureBench(model, await loadRingKernels(), 1);

console.log("greedy, the default");
console.log(`  ${(await generate({ prompt })).text}`);

console.log("sampled among the likeliest; the same seed gives the same choices");
for (const seed of [1, 2]) {
  const sampling = { temperature: 0.8, topK: 20, topP: 0.95, seed };
  console.log(`  ${(await generate({ prompt, sampling })).text}`);
}

console.log("stopped: at the end token, or at the greatest number of tokens");
for (const options of [{}, { maxTokens: 3 }, { ignoreEnd: true }]) {
  const { stopped, tokens } = await generate({ prompt, ...options });
  console.log(`  ${JSON.stringify(options)}: ${tokens.length} tokens, stopped by ${stopped}`);
}

console.log("anchors: never, every fourth token, every token");
for (const anchor of [0, 4, 1]) {
  const { text, online } = await generate({ prompt, anchor });
  console.log(
    `  ${anchor}: ${online.roundTrips} round trips, ${online.clientSentBytes} bytes sent`,
  );
  console.log(`     ${text}`);
}
