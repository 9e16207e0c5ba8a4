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
  const { seed, cells, only } = config;
  const at = (...parts: string[]) => join(config.out, ...parts);
  const teacher = stageOf(config, "teacher", "teacher", {
    seed,
    ...config.teacher,
    out: at("teacher"),
    tokenizer: at("tokenizer"),
  });
  const bucket = bucketOf(teacher);
  const data = at(bucket === undefined ? "data" : "prompts");
  const tokenizer = stageOf(config, "tokenizer", "tokenizer", {
    seed,
    inputs: bucket === undefined ? "slots" : "text",
    ...config.tokenizer,
    data: at("data"),
    out: at("tokenizer"),
  });
  const distil = stageOf(config, "distil", "distil", {
    seed,
    ...(bucket !== undefined && { syntheticCount: 0 }),
    ...config.distil,
    data,
    out: at("distil"),
    teacher: at("teacher", "model"),
  });
  const student = (cell: StudyCell) => studentOf(config, cell, data);
  checkCells(cells);
  for (const cell of cells) if (!isTeacher(cell) && !cell.ready) student(cell);
  return {
    tokenizer,
    teacher: { ...teacher, data },
    distil,
    bucket,
    data,
    cells: only?.map((name) => named(cells, name)) ?? cells,
    student,
    export: (cell) =>
      stageOf(config, "export", `cells.${cell.name}`, {
        data,
        out: at(cell.name, "export", "model"),
        model: at(cell.name, "training", "model"),
        calibrationCount: config.calibrationCount,
      }),
  };
}

/** A stage's configuration from some keys of the study at `where`. */
function stageOf<S extends TrainConfig["stage"]>(
  { task }: StudyConfig,
  stage: S,
  where: string,
  keys: object,
): StageConfig<S> {
  const origin = `${task}.${where}`;
  return parseTrainConfig({ ...keys, stage }, { origin }) as StageConfig<S>;
}

function studentOf(config: StudyConfig, cell: StudyCell, data: string): StageConfig<"student"> {
  const { out, seed } = config;
  const { after } = cell;
  const beginning =
    after === undefined ? join(out, "teacher", "model") : join(out, after, "training", "model");
  return stageOf(config, "student", `cells.${cell.name}`, {
    seed,
    ...config.students,
    ...cell.train,
    data,
    out: join(out, cell.name, "training"),
    pairs: join(out, "distil", "pairs.jsonl"),
    tokenizer: join(out, "tokenizer"),
    teacher: cell.teacher ?? beginning,
    recipe: cell.recipe,
  });
}

/** Names are free and different, and what a cell begins with is trained before it. */
function checkCells(cells: readonly StudyCell[]): void {
  for (const [index, { name, after }] of cells.entries()) {
    const before = cells.slice(0, index);
    const taken = before.some((other) => other.name === name);
    const free = !taken && !(own as readonly string[]).includes(name);
    const twice = `cells: ${name} stands twice, or names a folder of the study`;
    ensure(free, "E_CONFIG", twice);
    const trained = before.filter((other) => !isTeacher(other) && !other.ready);
    const known = after === undefined || trained.some((other) => other.name === after);
    ensure(known, "E_CONFIG", `cells: ${name}: none before it trains ${after}`);
  }
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
