// Texts of a study's models on the cases of a data set: in float many at once, in the secure mode
// one after the other, each kept at once, so that a run that is cut off goes on behind the last.

import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { ensure } from "../errors.ts";
import type { Example, Output } from "../evaluate/data.ts";
import { evaluate } from "../evaluate/report.ts";
import type { SlotTask } from "../evaluate/slot-error.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { Model } from "../model/checkpoint.ts";
import { encodePrompt } from "../model/prompt.ts";
import type { LocalBench } from "../party/local.ts";
import { BatchGenerator } from "./generate.ts";
import type { QualityMetrics } from "./study-result.ts";
import { replaceFile } from "./study-step.ts";
import type { Log } from "./trainer.ts";

const BATCH = 64;

/** Greedy texts in float; with anchor 0 states are sent again, with 1 tokens are. */
export function floatTexts(
  { config, weights, tokenizer }: Model,
  inputs: readonly string[],
  { anchor, kernels }: { anchor: number; kernels: FloatKernels },
): Output[] {
  const prompts = inputs.map((input) => encodePrompt(input, config, tokenizer));
  const values = new Map([...weights].map(([name, { data }]) => [name, data]));
  const outputs = new BatchGenerator(config, kernels).generate(values, {
    prompts: Int32Array.from(prompts.flat()),
    promptLength: prompts[0]!.length,
    maxTokens: config.generation.maxTokens,
    nextToken: anchor === 0 ? "resend" : "lookup",
    batchSize: BATCH,
  });
  return outputs.map((ids) => ({
    text: tokenizer.decode(ids).trim(),
    stopped: ids.at(-1) === config.tokens.end ? "end" : "length",
  }));
}

/** The lines of a file of texts; a last line that a kill has cut short is taken away. */
export function keptTexts(path: string): Output[] {
  if (!existsSync(path)) return [];
  const whole = readFileSync(path, "utf8");
  const kept = whole.slice(0, whole.lastIndexOf("\n") + 1);
  if (kept !== whole) replaceFile(path, kept);
  const lines = kept.split("\n").filter((line) => line !== "");
  return lines.map((line, index) => {
    const { text, stopped } = JSON.parse(line) as Partial<Output>;
    const isText = typeof text === "string";
    ensure(isText, "E_DATA", `${path}:${index + 1}: holds no text; remove the file`);
    return { text, stopped };
  });
}

/** Writes all texts at once. */
export function keepTexts(path: string, outputs: readonly Output[]): void {
  replaceFile(path, outputs.map(textLine).join(""));
}

function textLine({ text, stopped }: Output): string {
  return `${JSON.stringify({ text, stopped })}\n`;
}

/** Texts of a bench behind those that a file holds already; fewer where the signal says stop. */
export async function appendTexts(
  path: string,
  inputs: readonly string[],
  {
    open,
    anchor,
    log,
    signal,
  }: {
    /** Opened where there is anything to do. */
    open: () => Promise<LocalBench>;
    anchor: number;
    log: Log;
    signal: AbortSignal | undefined;
  },
): Promise<Output[]> {
  const outputs = keptTexts(path);
  if (outputs.length >= inputs.length) return outputs;
  const bench = await open();
  for (const prompt of inputs.slice(outputs.length)) {
    if (signal?.aborted) break;
    const { text, stopped } = await bench({ prompt, anchor });
    const output = { text, stopped };
    appendFileSync(path, textLine(output));
    outputs.push(output);
    if (outputs.length % 20 === 0) log(`${outputs.length}/${inputs.length} secure texts`);
  }
  return outputs;
}

/** The metrics of a result, to six digits. */
export async function metricsOf(
  examples: readonly Example[],
  outputs: readonly Output[],
  { slots, kernels }: { slots: SlotTask | undefined; kernels: FloatKernels },
): Promise<QualityMetrics> {
  const loadKernels = () => Promise.resolve(kernels);
  const { corpus } = await evaluate(examples, outputs, { task: slots, loadKernels });
  const { chrfpp, bleu, nist, rougeL, meteor, endReached = 0, slotErrorRate } = corpus;
  const rounded = (value: number) => Number(value.toPrecision(6));
  return {
    chrfpp: rounded(chrfpp),
    bleu: rounded(bleu),
    nist: rounded(nist),
    rougeL: rounded(rougeL),
    meteor: rounded(meteor),
    endReached: rounded(endReached),
    ...(slotErrorRate !== undefined && { slotErrorRate: rounded(slotErrorRate) }),
  };
}
