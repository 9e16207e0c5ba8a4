// One step of a study: a folder, the settings that it was made with, and the seconds it took over
// all runs of it. A step that is done is not done again; one that was cut off goes on, or begins
// anew where its work cannot go on.

import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { ensure, MergenError } from "../errors.ts";
import { withDefaults } from "./config.ts";
import type { StageContext } from "./train-stage.ts";
import type { Log } from "./trainer.ts";

const record = z.object({
  settings: z.unknown(),
  seconds: z.number().nonnegative(),
  done: z.boolean(),
  result: z.record(z.string(), z.unknown()).optional(),
});

export type StepRecord = z.infer<typeof record>;

export interface Step {
  readonly folder: string;
  /** All that decides what comes out. */
  readonly settings: unknown;
  /** Does the work, or as much as it can before the signal; its log is what keeps the time. */
  readonly work: (context: StageContext) => Promise<Readonly<Record<string, unknown>>>;
}

/**
 * The record of a step after it was done, and by `isEnough` done far enough; `done` is false
 * where the signal has cut it off.
 * @throws E_CONFIG when the folder holds what other settings have made, and what `work` throws
 */
export async function runStep(
  step: Step,
  context: StageContext,
  isEnough: (record: StepRecord) => boolean = () => true,
): Promise<StepRecord> {
  const path = join(step.folder, "step.json");
  const known = loadRecord(path);
  const settings: unknown = JSON.parse(JSON.stringify(step.settings));
  // A record can be older than some keys, whose defaults stand for what was done then.
  const same = isDeepStrictEqual(withDefaults(known?.settings), withDefaults(settings));
  const remedy = "remove the folder, or take another out";
  ensure(!known || same, "E_CONFIG", `${step.folder} holds work of other settings: ${remedy}`);
  if (known?.done && isEnough(known)) return known;
  mkdirSync(step.folder, { recursive: true });
  const began = performance.now();
  const before = known?.seconds ?? 0;
  const save = (rest: Partial<StepRecord>): StepRecord => {
    const seconds = Math.round(before + (performance.now() - began) / 1000);
    const whole = { settings, seconds, done: false, ...rest };
    replaceFile(path, `${JSON.stringify(whole, null, 2)}\n`);
    return whole;
  };
  save({});
  const log: Log = (line) => {
    context.log(line);
    save({});
  };
  const result = await step.work({ ...context, log });
  return save({ done: !context.signal?.aborted, result });
}

/** Writes aside and renames. */
export function replaceFile(path: string, data: string | Uint8Array): void {
  writeFileSync(`${path}.part`, data);
  renameSync(`${path}.part`, path);
}

function loadRecord(path: string): StepRecord | undefined {
  if (!existsSync(path)) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new MergenError("E_DATA", `${path}: cannot be read as JSON; remove it`, { cause });
  }
  const { data } = record.safeParse(json);
  ensure(data, "E_DATA", `${path}: is no record of a step; remove it`);
  return data;
}
