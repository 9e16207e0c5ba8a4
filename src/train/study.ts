// The quality study of a task: data, tokenizer, teacher, its texts, then a student of each recipe,
// scored in float and in the secure mode. Every step leaves a record and is done once, so that the
// same command goes on from wherever it was cut off.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { MergenError } from "../errors.ts";
import { type Example, loadExamples, type Output } from "../evaluate/data.ts";
import { corpusRougeL } from "../evaluate/rouge.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { loadModel, loadTokenizer, type Model, saveModel } from "../model/checkpoint.ts";
import { encodePrompt } from "../model/prompt.ts";
import { insecureSecureBench } from "../party/local.ts";
import { servable } from "../party/servable.ts";
import { isMerged } from "../recipe/presets.ts";
import type { TrainConfig } from "./config.ts";
import { type CutCounts, cutData, gatherData } from "./study-data.ts";
import { QUALITY_FORMAT, type QualityResult } from "./study-result.ts";
import {
  isTeacher,
  type StudyCell,
  type StudyConfig,
  type StudyStages,
  studyStages,
} from "./study-stages.ts";
import { replaceFile, runStep, type Step, type StepRecord } from "./study-step.ts";
import { appendTexts, floatTexts, keepTexts, keptTexts, metricsOf } from "./study-texts.ts";
import type { StageContext, StageResult } from "./train-stage.ts";

type RunStage = (config: TrainConfig, context: StageContext) => Promise<StageResult>;

/** Texts that an ordinary decoder's ranges are seen on. */
const RANGE_TEXTS = 32;

/**
 * Runs what is left of a study; `results` then has a file for each cell that is done. A cell whose
 * training comes to no number is told and passed over.
 * @throws E_CONFIG when a key or a cell is wrong, or `out` holds a study of other settings; E_DATA
 * naming file and line
 */
export async function runStudy(
  config: StudyConfig,
  runStage: RunStage,
  context: StageContext,
): Promise<StageResult> {
  const study = new Study(config, runStage, context);
  return study.run();
}

/** What a cell's scoring starts from. */
interface Trained {
  readonly cell: StudyCell;
  /** Model folder. */
  readonly model: string;
  readonly training: QualityResult["training"];
  /** All that its weights depend on. */
  readonly settings: unknown;
}

class Study {
  readonly #config: StudyConfig;
  readonly #stages: StudyStages;
  readonly #runStage: RunStage;
  readonly #context: StageContext;

  constructor(config: StudyConfig, runStage: RunStage, context: StageContext) {
    this.#config = config;
    this.#stages = studyStages(config);
    this.#runStage = runStage;
    this.#context = context;
  }

  async run(): Promise<StageResult> {
    const done: string[] = [];
    const failed: string[] = [];
    const shared = await this.#shared();
    for (const cell of shared ? this.#stages.cells : []) {
      if (this.#stopped) break;
      this.#context.log(`${this.#config.task}: ${cell.name}`);
      try {
        if (await this.#cell(cell, shared!)) done.push(cell.name);
      } catch (error) {
        if (!(error instanceof MergenError && error.code === "E_TRAIN")) throw error;
        this.#context.log(`${cell.name}: ${error.message}`);
        failed.push(cell.name);
      }
    }
    if (this.#stopped) this.#context.log("stopped; the same command goes on from there");
    return { task: this.#config.task, done, failed, stopped: this.#stopped };
  }

  get #stopped(): boolean {
    return this.#context.signal?.aborted ?? false;
  }

  #at(...parts: string[]): string {
    return join(this.#config.out, ...parts);
  }

  /** The record, or undefined where the signal has cut the step off. */
  async #step(
    step: Step,
    isEnough?: (record: StepRecord) => boolean,
  ): Promise<StepRecord | undefined> {
    if (this.#stopped) return undefined;
    const record = await runStep(step, this.#context, isEnough);
    return record.done ? record : undefined;
  }

  #stage(folder: string, config: TrainConfig): Promise<StepRecord | undefined> {
    const work = (context: StageContext) => this.#runStage(config, context);
    return this.#step({ folder, settings: config, work });
  }

  /** What all cells need; undefined where the signal has cut it off. */
  async #shared(): Promise<Shared | undefined> {
    const { tokenizer, teacher, distil, bucket } = this.#stages;
    const { data, trainFiles } = this.#config;
    const gathered = await this.#step({
      folder: this.#at("data"),
      settings: { data, trainFiles },
      work: () => gatherData({ data, trainFiles }, this.#at("data")),
    });
    if (!gathered || !(await this.#stage(tokenizer.out, tokenizer))) return undefined;
    const cut = bucket === undefined ? undefined : await this.#cut(bucket);
    if (bucket !== undefined && !cut) return undefined;
    const taught = await this.#stage(teacher.out, teacher);
    const texts = taught && (await this.#stage(distil.out, distil));
    if (!taught || !texts) return undefined;
    const counts = gathered.result as { train: number; leftOut: number };
    return {
      teacher: taught,
      data: {
        files: [...trainFiles],
        train: counts.train,
        leftOut: counts.leftOut,
        ...(cut && { cut: cut.result as unknown as CutCounts }),
        distilled: Number(texts.result?.outputs),
        withoutEnd: Number(texts.result?.withoutEnd),
      },
    };
  }

  #cut(bucket: number): Promise<StepRecord | undefined> {
    const folder = this.#at("prompts");
    const { prefix = "" } = this.#stages.teacher.model.prompt as { prefix?: string };
    const { out, vocabSize } = this.#stages.tokenizer;
    const settings = {
      data: this.#config.data,
      trainFiles: this.#config.trainFiles,
      bucket,
      prefix,
      vocabSize,
    };
    const work = async () => {
      const tokenizer = await loadTokenizer(out);
      const count = (text: string) => tokenizer.encode(prefix + text).length;
      return { ...(await cutData(this.#at("data"), folder, { most: bucket, count })) };
    };
    return this.#step({ folder, settings, work });
  }

  async #cell(cell: StudyCell, shared: Shared): Promise<boolean> {
    const trained = await this.#trained(cell, shared);
    if (!trained) return false;
    const model = await loadModel(trained.model);
    const exported = await this.#exported(trained, model);
    if (exported === undefined) return false;
    const result = await this.#scored({ ...trained, exported }, shared);
    if (!result) return false;
    mkdirSync(this.#config.results, { recursive: true });
    const path = join(this.#config.results, `${cell.name}.json`);
    replaceFile(path, `${JSON.stringify(result, null, 2)}\n`);
    this.#context.log(`${path}: ROUGE-L ${result.test.metrics.rougeL.toFixed(4)}`);
    return true;
  }

  async #trained(cell: StudyCell, { teacher }: Shared): Promise<Trained | undefined> {
    if (cell.ready) {
      const { model, ...took } = cell.ready;
      const training = { ...took, from: "trained before", texts: "see the model's README" };
      return { cell, model, training, settings: cell.ready };
    }
    const config = isTeacher(cell) ? this.#stages.teacher : this.#stages.student(cell);
    const record = isTeacher(cell) ? teacher : await this.#stage(config.out, config);
    if (!record) return undefined;
    const { steps, batchSize, seed, out } = config;
    const loss = record.result?.loss;
    const begun = cell.teacher ?? (cell.after && `the weights of ${cell.after}`);
    const fresh = isTeacher(cell) || (isMerged(cell.recipe) && begun === undefined);
    return {
      cell,
      model: join(out, "model"),
      settings: config,
      training: {
        from: fresh ? "random weights" : (begun ?? "the teacher's weights"),
        texts: isTeacher(cell) ? "references" : "the teacher's texts",
        steps,
        batchSize,
        seed,
        seconds: record.seconds,
        ...(typeof loss === "number" && { loss: Number(loss.toPrecision(4)) }),
      },
    };
  }

  /** The model of the secure mode, or why there is none; undefined where it was cut off. */
  async #exported(trained: Trained, model: Model): Promise<Exported | undefined> {
    const { cell } = trained;
    if (cell.ready && model.config.weightFracBits) return { folder: trained.model };
    const folder = this.#at(cell.name, "export");
    const settings = { model: trained.settings, calibratedBounds: cell.calibratedBounds };
    const work = async (context: StageContext) => {
      if (isMerged(cell.recipe)) return this.#runStage(this.#stages.export(cell), context);
      const texts = await this.#rangeTexts(model);
      const { calibratedBounds } = cell;
      const ready = servable(model, context.kernels, { calibratedBounds, texts });
      await saveModel(join(folder, "model"), ready, { int16: true });
      return {};
    };
    try {
      const record = await this.#step({ folder, settings, work });
      return record && { folder: join(folder, "model") };
    } catch (error) {
      return refusal(error);
    }
  }

  /** Prompts of the training set with the model's own texts behind them, as ids. */
  async #rangeTexts(model: Model): Promise<number[][]> {
    const { config, tokenizer } = model;
    const path = join(this.#stages.data, "train.jsonl.gz");
    const examples = await loadExamples(path, { limit: RANGE_TEXTS });
    return examples.map(({ input, refs }) => {
      const prompt = encodePrompt(input, config, tokenizer);
      return [...prompt, ...tokenizer.encode(` ${refs[0]!}`)].slice(0, config.positionCount);
    });
  }

  async #scored(
    trained: Trained & { readonly exported: Exported },
    { data }: Shared,
  ): Promise<QualityResult | undefined> {
    const { cell, training, exported } = trained;
    const { slots, devCount, task } = this.#config;
    const { kernels, origin } = this.#context;
    const anchor = cell.anchor ?? (["merge", "merge-er"].includes(cell.recipe) ? 0 : 1);
    // A merged module has the same weights in float as in the secure mode.
    const own = isMerged(cell.recipe) && exported.folder !== undefined;
    const inFloat = own ? exported.folder : trained.model;
    const float = await this.#float({ ...trained, model: inFloat }, anchor);
    if (!float) return undefined;
    const test = await this.#examples("test");
    const secure = await this.#secure(trained, { anchor, test, float: float.test });
    if (!secure) return undefined;
    return {
      format: QUALITY_FORMAT,
      task,
      cell: cell.name,
      recipe: cell.recipe,
      ...(cell.note !== undefined && { note: cell.note }),
      command: origin?.command ?? "-",
      machine: origin?.machine ?? "-",
      commit: origin?.commit ?? "-",
      training,
      model: trained.model,
      ...(exported.folder !== undefined && { exported: exported.folder }),
      anchor,
      data,
      dev: {
        count: float.dev.length,
        rougeL: Number(
          corpusRougeL(
            float.dev.map(({ text }) => text),
            (await this.#examples("dev", devCount)).map(({ refs }) => refs),
          ).toPrecision(6),
        ),
      },
      test: { count: test.length, metrics: await metricsOf(test, float.test, { slots, kernels }) },
      ...secure,
    };
  }

  /** Cases as the data set has them. */
  #examples(split: "dev" | "test", limit?: number): Promise<Example[]> {
    return loadExamples(join(this.#config.data, `${split}.jsonl.gz`), { limit });
  }

  /** Inputs as the model takes them. */
  async #inputs(split: "dev" | "test", limit?: number): Promise<string[]> {
    const examples = await loadExamples(join(this.#stages.data, `${split}.jsonl.gz`), { limit });
    return examples.map(({ input }) => input);
  }

  async #float({ cell, model: path, settings }: Trained, anchor: number) {
    const folder = this.#at(cell.name, "float");
    const { devCount } = this.#config;
    const [dev, test] = ["dev", "test"].map((name) => join(folder, `${name}.jsonl`));
    const record = await this.#step({
      folder,
      settings: { model: settings, anchor, devCount },
      work: async ({ kernels }) => {
        const model = await loadModel(path);
        const write = async (file: string, inputs: Promise<string[]>) =>
          keepTexts(file, floatTexts(model, await inputs, { anchor, kernels }));
        await write(dev!, this.#inputs("dev", devCount));
        await write(test!, this.#inputs("test"));
        return {};
      },
    });
    return record && { dev: keptTexts(dev!), test: keptTexts(test!) };
  }

  async #secure(
    { cell, exported, settings }: Trained & { readonly exported: Exported },
    { anchor, test, float }: { anchor: number; test: readonly Example[]; float: readonly Output[] },
  ): Promise<Pick<QualityResult, "secure" | "refused"> | undefined> {
    if (exported.folder === undefined) return { refused: exported.refused ?? "-" };
    const folder = this.#at(cell.name, "secure");
    const { slots, seed } = this.#config;
    const secureCount = cell.secureCount ?? this.#config.secureCount;
    const inputs = (await this.#inputs("test")).slice(0, secureCount);
    const path = join(folder, "test.jsonl");
    const work = async ({ kernels, log, signal }: StageContext) => {
      const open = async () =>
        insecureSecureBench(
          await loadModel(exported.folder!),
          await loadRingKernels(),
          seed,
          kernels,
        );
      const texts = await appendTexts(path, inputs, { open, anchor, log, signal });
      return { count: texts.length };
    };
    const { calibratedBounds } = cell;
    const step = { folder, settings: { model: settings, anchor, calibratedBounds, seed }, work };
    const isEnough = ({ result }: StepRecord) => Number(result?.count) >= inputs.length;
    let record: StepRecord | undefined;
    try {
      record = await this.#step(step, isEnough);
    } catch (error) {
      return refusal(error);
    }
    if (!record) return undefined;
    const outputs = keptTexts(path).slice(0, inputs.length);
    const examples = test.slice(0, outputs.length);
    const same = float.slice(0, outputs.length);
    const { kernels } = this.#context;
    const { config } = await loadModel(exported.folder);
    const secure = {
      count: outputs.length,
      seconds: record.seconds,
      metrics: await metricsOf(examples, outputs, { slots, kernels }),
      float: await metricsOf(examples, same, { slots, kernels }),
      equal: outputs.filter(({ text }, index) => text === same[index]!.text).length,
      bounds: config.calibratedBounds ? ("calibrated" as const) : ("proven" as const),
    };
    return { secure };
  }
}

interface Shared {
  readonly teacher: StepRecord;
  readonly data: QualityResult["data"];
}

interface Exported {
  readonly folder?: string;
  readonly refused?: string;
}

/** What a model says that has no secure form. @throws anything else */
function refusal(error: unknown): { refused: string } {
  const known = ["E_PLAN", "E_MODEL", "E_RANGE"];
  if (!(error instanceof MergenError && known.includes(error.code))) throw error;
  return { refused: `${error.code}: ${error.message}` };
}
