// What a study's configuration says of its stages: folders and data are the study's, the rest are
// the stages' own keys. All are checked before anything runs.

import { join } from "node:path";
import { ensure, MergenError } from "../errors.ts";
import { parseTrainConfig, type StageConfig, type TrainConfig } from "./config.ts";

export type StudyConfig = StageConfig<"study">;
export type StudyCell = StudyConfig["cells"][number];

/** The folders of a study below its `out`. */
const own = ["data", "tokenizer", "prompts", "teacher", "distil"] as const;

export interface StudyStages {
  readonly tokenizer: StageConfig<"tokenizer">;
  readonly teacher: StageConfig<"teacher">;
  readonly distil: StageConfig<"distil">;
  /** Tokens of a prompt of plain text at most; undefined for slots. */
  readonly bucket: number | undefined;
  /** Training, dev and test data as the stages read them. */
  readonly data: string;
  /** Cells in order. */
  readonly cells: readonly StudyCell[];
  student(cell: StudyCell): StageConfig<"student">;
  export(cell: StudyCell): StageConfig<"export">;
}

/** @throws E_CONFIG naming the key or the cell that is wrong */
export function studyStages(config: StudyConfig): StudyStages {
  const { out, seed, cells } = config;
  const at = (...parts: string[]) => join(out, ...parts);
  const stage = <S extends TrainConfig["stage"]>(name: S, where: string, keys: object) =>
    parseTrainConfig(
      { ...keys, stage: name },
      { origin: `${config.task}.${where}` },
    ) as StageConfig<S>;
  const shape = stage("teacher", "teacher", {
    seed,
    ...config.teacher,
    out: at("teacher"),
    tokenizer: at("tokenizer"),
  });
  const bucket = bucketOf(shape);
  const data = at(bucket === undefined ? "data" : "prompts");
  const teacher = { ...shape, data };
  const student = (cell: StudyCell) =>
    stage("student", `cells.${cell.name}`, {
      seed,
      ...config.students,
      ...cell.train,
      data,
      out: at(cell.name, "training"),
      pairs: at("distil", "pairs.jsonl"),
      tokenizer: at("tokenizer"),
      teacher: cell.teacher ?? beginning(cell),
      recipe: cell.recipe,
    });
  const beginning = ({ after }: StudyCell) =>
    after === undefined ? at("teacher", "model") : at(after, "training", "model");
  const wanted = config.only?.map((name) => named(cells, name)) ?? cells;
  for (const [index, { name }] of cells.entries()) {
    const first = cells.findIndex((other) => other.name === name) === index;
    const free = !(own as readonly string[]).includes(name);
    ensure(
      first && free,
      "E_CONFIG",
      `cells: ${name} stands twice, or names a folder of the study`,
    );
  }
  for (const [index, cell] of cells.entries()) {
    if (!isTeacher(cell) && !cell.ready) student(cell);
    const { after, name } = cell;
    const trained = ({ ready, ...other }: StudyCell) => !isTeacher(other as StudyCell) && !ready;
    const known = cells.slice(0, index).some((other) => other.name === after && trained(other));
    ensure(
      after === undefined || known,
      "E_CONFIG",
      `cells: ${name}: none before it trains ${after}`,
    );
  }
  return {
    tokenizer: stage("tokenizer", "tokenizer", {
      seed,
      inputs: bucket === undefined ? "slots" : "text",
      ...config.tokenizer,
      data: at("data"),
      out: at("tokenizer"),
    }),
    teacher,
    distil: stage("distil", "distil", {
      seed,
      ...(bucket !== undefined && { syntheticCount: 0 }),
      ...config.distil,
      data,
      out: at("distil"),
      teacher: at("teacher", "model"),
    }),
    bucket,
    data,
    cells: wanted,
    student,
    export: (cell) =>
      stage("export", `cells.${cell.name}`, {
        data,
        out: at(cell.name, "export", "model"),
        model: at(cell.name, "training", "model"),
        calibrationCount: config.calibrationCount,
      }),
  };
}

/** Whether a cell is the task's teacher itself. */
export function isTeacher({ recipe }: StudyCell): boolean {
  return recipe === "vanilla";
}

function named(cells: readonly StudyCell[], name: string): StudyCell {
  const cell = cells.find((each) => each.name === name);
  const known = cells.map((each) => each.name).join(", ");
  ensure(cell, "E_CONFIG", `only: there is no cell ${name}; take some of ${known}`);
  return cell;
}

function bucketOf({ model }: StageConfig<"teacher">): number | undefined {
  const { kind, bucket } = (model.prompt ?? {}) as { kind?: unknown; bucket?: unknown };
  if (kind === "slots") return undefined;
  if (kind === "text" && typeof bucket === "number") return bucket;
  throw new MergenError("E_CONFIG", "teacher.model.prompt: has neither slots nor a bucket");
}
