// How often should the client send its token back? Quality over a data set (fixed mode) and exact
// costs, per anchor K.

import {
  ensure,
  fixedBench,
  generationOptions,
  loadExamples,
  loadModel,
  loadRingKernels,
  planGeneration,
  predict,
  promptPositions,
  scoreOutputs,
} from "../../src/index.ts";
import type { BenchContext, Group } from "../context.ts";
import { makeRow, type Row } from "../rows.ts";

const ANCHORS = [1, 2, 4, 8, 16, 0];
/** Costs are stated for texts of this many tokens. */
const TOKENS = 16;

async function run({ anchors, note }: BenchContext): Promise<Row[]> {
  ensure(anchors, "E_USAGE", "the group anchors needs --data FILE, and takes --model DIR");
  const model = await loadModel(anchors.model);
  const { limit } = anchors;
  const examples = await loadExamples(anchors.data, limit === undefined ? {} : { limit });
  const kernels = await loadRingKernels();
  const positions = promptPositions(model.config.prompt);
  const rows: Row[] = [];
  for (const anchor of ANCHORS) {
    const bench = fixedBench(model, kernels, 1);
    const outputs = [];
    for (const { input } of examples) outputs.push(await bench({ prompt: input, anchor }));
    const score = scoreOutputs(examples, outputs);
    const options = generationOptions(model.config, positions, { maxTokens: TOKENS, anchor });
    const { online, offline } = predict(await planGeneration(model.config, options));
    const onlineBytes = online.clientSentBytes + online.serverSentBytes;
    const offlineBytes =
      offline.dealerToServerBytes + offline.dealerToClientBytes + offline.clientToServerBytes;
    const title = anchor === 0 ? "K = 0 (never)" : `K = ${anchor}`;
    const add = (name: string, unit: string, value: number, better: Row["better"] = "less") =>
      rows.push(makeRow({ name: `${title}: ${name}`, unit, better, samples: [value] }));
    const texts = `${examples.length} texts`;
    add(`ROUGE-L of ${texts}`, "1", score.rougeL, "more");
    add(`name coverage of ${texts}`, "1", score.nameCoverage, "more");
    if (score.endReached !== undefined) add(`ended, of ${texts}`, "1", score.endReached, "more");
    add("online, a text", "kB", onlineBytes / 1e3);
    add("round trips, a text", "1", online.roundTrips);
    add("offline, a text", "MB", offlineBytes / 1e6);
    note(`K = ${anchor}: ROUGE-L ${score.rougeL.toFixed(4)}`);
  }
  return rows;
}

export const anchors: Group = {
  name: "anchors",
  question: `quality and cost by how often the client sends its token back, ${TOKENS} tokens`,
  onRequest: true,
  run,
};
