// How often should the client send its token back? Quality over a data set (fixed mode) and exact
// costs, per anchor K. Usage: node bench/anchors.ts MODEL DATA [LIMIT]. Prints a Markdown table.

import {
  fixedBench,
  generationOptions,
  loadExamples,
  loadModel,
  loadRingKernels,
  planGeneration,
  predict,
  promptPositions,
  scoreOutputs,
} from "../src/index.ts";

const ANCHORS = [1, 2, 4, 8, 16, 0];
/** Costs are stated for texts of this many tokens. */
const TOKENS = 16;

const [dir, data, limit] = process.argv.slice(2);
if (!dir || !data) throw new Error("usage: node bench/anchors.ts MODEL DATA [LIMIT]");
const model = await loadModel(dir);
const examples = await loadExamples(data, limit ? { limit: Number(limit) } : {});
const kernels = await loadRingKernels();

const rows = [
  `| K | ROUGE-L | names | ended | online kB a text | round trips | offline MB a text |`,
  `| --- | --- | --- | --- | --- | --- | --- |`,
];
for (const anchor of ANCHORS) {
  const bench = fixedBench(model, kernels, 1);
  const outputs = [];
  for (const { input } of examples) outputs.push(await bench({ prompt: input, anchor }));
  const score = scoreOutputs(examples, outputs);
  const positions = promptPositions(model.config.prompt);
  const options = generationOptions(model.config, positions, { maxTokens: TOKENS, anchor });
  const { online, offline } = predict(await planGeneration(model.config, options));
  const onlineBytes = online.clientSentBytes + online.serverSentBytes;
  const offlineBytes =
    offline.dealerToServerBytes + offline.dealerToClientBytes + offline.clientToServerBytes;
  const cells = [
    anchor === 0 ? "0 (never)" : anchor,
    score.rougeL.toFixed(4),
    score.nameCoverage.toFixed(4),
    score.endReached?.toFixed(4) ?? "-",
    (onlineBytes / 1e3).toFixed(0),
    online.roundTrips,
    (offlineBytes / 1e6).toFixed(2),
  ];
  rows.push(`| ${cells.join(" | ")} |`);
  process.stderr.write(`K = ${anchor}: ROUGE-L ${score.rougeL.toFixed(4)}\n`);
}
process.stdout.write(`${rows.join("\n")}\n`);
