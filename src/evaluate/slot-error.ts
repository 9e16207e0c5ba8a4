// Slot error rate: values of the input that a text lacks, and values that it invents, by rules
// (Wen et al. 2015, section 5.1: (missing + invented) / slots; Dusek et al. 2019 for E2E). A wrong
// value is both. The rules look for words, so they err where a text says a thing in a way that
// they do not know; docs/format.md has what they leave on human references.

import { ensure, MergenError } from "../errors.ts";
import { e2eSlots } from "./slots-e2e.ts";
import { multiwozSlots } from "./slots-multiwoz.ts";

export const slotTasks = ["e2e", "multiwoz"] as const;
export type SlotTask = (typeof slotTasks)[number];

/** What the rules find in one text. */
export interface SlotReport {
  /** Values of the input that the rules can check. */
  readonly total: number;
  /** Those that the text lacks, as `slot=value`. */
  readonly missing: readonly string[];
  /** What the text says that the input does not, as `slot=value`. */
  readonly invented: readonly string[];
}

export interface SlotTotals {
  /** (missing + invented) / total. */
  readonly rate: number;
  readonly missing: number;
  readonly invented: number;
  readonly total: number;
}

/** Checks one text against its input. @throws E_DATA when the input is none of the task's */
export type SlotRules = (input: string, text: string) => SlotReport;

/**
 * The rules of a task. Names of places, and what else is no closed list, are known from the inputs
 * of the data set: only what one of them names can be found to be invented.
 * @throws E_DATA when an input is none of the task's
 */
export function slotRules(task: SlotTask, inputs: readonly string[]): SlotRules {
  switch (task) {
    case "e2e":
      return e2eSlots(inputs);
    case "multiwoz":
      return multiwozSlots(inputs);
    default:
      return task satisfies never;
  }
}

/**
 * Reports on all texts.
 * @throws E_DATA naming the input that is none of the task's; `describe` says which it is
 */
export function slotReports(
  task: SlotTask,
  pairs: readonly { readonly input: string; readonly text: string }[],
  describe: (index: number) => string = (index) => `example ${index + 1}`,
): SlotReport[] {
  const inputs = pairs.map(({ input }) => input);
  for (const [index, input] of inputs.entries()) {
    try {
      slotRules(task, [input]);
    } catch (cause) {
      if (!(cause instanceof MergenError)) throw cause;
      throw new MergenError(cause.code, `${describe(index)}: ${cause.message}`, { cause });
    }
  }
  const rules = slotRules(task, inputs);
  return pairs.map(({ input, text }) => rules(input, text));
}

/** The rate over a corpus. @throws E_DATA when no input has a value that can be checked */
export function slotTotals(reports: readonly SlotReport[]): SlotTotals {
  const sum = (of: (report: SlotReport) => number) =>
    reports.reduce((all, report) => all + of(report), 0);
  const total = sum((report) => report.total);
  const message = "slot error rate: no input has a value to look for; check --task and --data";
  ensure(total > 0, "E_DATA", message);
  const missing = sum((report) => report.missing.length);
  const invented = sum((report) => report.invented.length);
  return { rate: (missing + invented) / total, missing, invented, total };
}
