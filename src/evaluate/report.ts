// All metrics that are asked for, over a data set and for each item: what `mergen eval` prints.

import { ensure, MergenError } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { loadModel } from "../model/checkpoint.ts";
import { BartScorer } from "./bart-score.ts";
import { BertScorer, type MatchScore } from "./bert-score.ts";
import { type CorpusScore, type ItemScore, scoreItems } from "./corpus.ts";
import type { Example, Output } from "./data.ts";
import { type Likelihood, likelihoodUnder, perplexity } from "./perplexity.ts";
import {
  type SlotReport,
  type SlotTask,
  type SlotTotals,
  slotReports,
  slotTotals,
} from "./slot-error.ts";
import { loadWordnet } from "./wordnet.ts";

/** What is computed beside the metrics of words; a folder or a task turns each on. */
export interface EvaluateOptions {
  /** Folder of WordNet 3: METEOR matches synonyms, too. */
  readonly wordnet?: string | undefined;
  /** Slot error rate by the rules of a task. */
  readonly task?: SlotTask | undefined;
  /** Folder of one of our models. */
  readonly perplexity?: string | undefined;
  /** Of the perplexity; default: the model's. */
  readonly anchor?: number | undefined;
  /** Folder of a BERT or RoBERTa model. */
  readonly bertScore?: string | undefined;
  readonly bertScoreLayer?: number | undefined;
  /** Folder of a BART model. */
  readonly bartScore?: string | undefined;
  /** Loads what perplexity, BERTScore and BARTScore compute with. */
  readonly loadKernels: () => Promise<FloatKernels>;
  /** What errors call an item. Default: `example 3`. */
  readonly describe?: ((index: number) => string) | undefined;
  /** Called with the number of items done of the slower metrics. */
  readonly onProgress?: ((done: number) => void) | undefined;
}

export interface EvaluationReport extends CorpusScore {
  readonly slotErrorRate?: number;
  readonly slots?: Omit<SlotTotals, "rate">;
  readonly perplexity?: number;
  readonly bertScore?: MatchScore;
  readonly bartScore?: MatchScore;
}

export interface ItemReport extends ItemScore {
  readonly slots?: SlotReport;
  readonly perplexity?: number;
  readonly bertScore?: MatchScore;
  readonly bartScore?: MatchScore;
}

/** One item for each of several metrics; what is not asked for is left out. */
interface Judge {
  readonly likelihood?: (input: string, text: string) => Likelihood;
  readonly bert?: BertScorer;
  readonly bart?: BartScorer;
}

/** Whether these options need the inputs of the examples, not only their references. */
export function needsInputs({ task, perplexity }: Partial<EvaluateOptions>): boolean {
  return task !== undefined || perplexity !== undefined;
}

/**
 * Scores one output per example, in order.
 * @throws E_DATA when their numbers differ or an item cannot be scored; E_MODEL, E_TOKENIZER when a
 *         folder is none of a model; E_USAGE when an option has nothing to act on
 */
export async function evaluate(
  examples: readonly Example[],
  outputs: readonly Output[],
  options: EvaluateOptions,
): Promise<{ corpus: EvaluationReport; items: ItemReport[] }> {
  const { task, wordnet, describe = (index: number) => `example ${index + 1}` } = options;
  const judge = await judgeOf(options);
  const synonyms = wordnet === undefined ? undefined : await loadWordnet(wordnet);
  const { corpus, items } = scoreItems(examples, outputs, { synonyms });
  const pairs = examples.map(({ input }, i) => ({ input, text: outputs[i].text }));
  const slots = task === undefined ? undefined : slotReports(task, pairs, describe);
  const likelihoods: Likelihood[] = [];
  const reports = items.map((item, i): ItemReport => {
    const { refs } = examples[i];
    const { input, text } = pairs[i];
    const judged = located(describe(i), () => judgeItem(judge, { input, text, refs }));
    if (judged.likelihood) likelihoods.push(judged.likelihood);
    options.onProgress?.(i + 1);
    return { ...item, ...(slots && { slots: slots[i] }), ...judged.report };
  });
  return {
    corpus: {
      ...corpus,
      ...(slots && slotKeys(slotTotals(slots))),
      ...(judge.likelihood && { perplexity: perplexity(likelihoods) }),
      ...(judge.bert && { bertScore: meanOf(reports.map(({ bertScore }) => bertScore!)) }),
      ...(judge.bart && { bartScore: meanOf(reports.map(({ bartScore }) => bartScore!)) }),
    },
    items: reports,
  };
}

function slotKeys({ rate, ...slots }: SlotTotals) {
  return { slotErrorRate: rate, slots };
}

async function judgeOf(options: EvaluateOptions): Promise<Judge> {
  const { perplexity: model, anchor, bertScore, bertScoreLayer: layer, bartScore } = options;
  const goesWith = "--bert-score-layer goes with --bert-score; give both";
  ensure(layer === undefined || bertScore !== undefined, "E_USAGE", goesWith);
  const folders = [model, bertScore, bartScore];
  if (folders.every((folder) => folder === undefined)) return {};
  const kernels = await options.loadKernels();
  return {
    ...(model !== undefined && {
      likelihood: likelihoodUnder(await loadModel(model), kernels, { anchor }),
    }),
    ...(bertScore !== undefined && { bert: await BertScorer.load(bertScore, kernels, { layer }) }),
    ...(bartScore !== undefined && { bart: await BartScorer.load(bartScore, kernels) }),
  };
}

function judgeItem(
  { likelihood, bert, bart }: Judge,
  { input, text, refs }: { input: string; text: string; refs: readonly string[] },
): { likelihood: Likelihood | undefined; report: Partial<ItemReport> } {
  const one = likelihood?.(input, text);
  return {
    likelihood: one,
    report: {
      ...(one && { perplexity: perplexity([one]) }),
      ...(bert && { bertScore: bert.score(text, refs) }),
      ...(bart && { bartScore: bart.score(text, refs) }),
    },
  };
}

function located<T>(place: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (!(cause instanceof MergenError)) throw cause;
    throw new MergenError(cause.code, `${place}: ${cause.message}`, { cause });
  }
}

function meanOf(scores: readonly MatchScore[]): MatchScore {
  const mean = (of: (score: MatchScore) => number) =>
    scores.reduce((sum, score) => sum + of(score), 0) / scores.length;
  return {
    precision: mean(({ precision }) => precision),
    recall: mean(({ recall }) => recall),
    f1: mean(({ f1 }) => f1),
  };
}
