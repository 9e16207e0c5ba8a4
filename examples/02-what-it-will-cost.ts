// 2. What a private generation will cost, before it is run.
//
// A plan is what all parties compute: every gate and every message, without weights, prompt or
// randomness. So its bytes and round trips are known exactly. Four numbers are asked for, and all
// of them are public: the length of the prompt, the greatest number of tokens, how many tokens'
// logits come together (a chunk), and how often the client sends a token back privately (an
// anchor).
//
//   node examples/02-what-it-will-cost.ts [MODEL] [PROMPT]

import { encodePrompt, loadConfig, loadTokenizer, planGeneration, predict } from "../src/index.ts";

const [folder = "models/e2e-merge", prompt = "name[The Eagle], food[French], area[riverside]"] =
  process.argv.slice(2);

const config = await loadConfig(folder); // the weights are not needed
const promptPositions = encodePrompt(prompt, config, await loadTokenizer(folder)).length;
const { maxTokens, chunk } = config.generation;
console.log(`${promptPositions} positions of prompt, ${maxTokens} tokens, ${chunk} a chunk`);

for (const anchor of [0, 4, 1]) {
  const plan = await planGeneration(config, { promptPositions, maxTokens, chunk, anchor });
  const { online, offline, digest } = predict(plan);
  const onlineBytes = online.clientSentBytes + online.serverSentBytes;
  const dealtBytes = offline.dealerToServerBytes + offline.dealerToClientBytes;
  console.log(`anchor ${anchor}, plan ${digest.slice(0, 8)}`);
  console.log(`  online:  ${online.roundTrips} round trips, ${onlineBytes} bytes`);
  console.log(`  offline: ${dealtBytes} bytes from the dealer`);
}
