// What a training stage is to the trainer: a loss with its gradient for one shard of one step.

import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { studentTask } from "./student.ts";
import type { StudentOptions } from "./student-phases.ts";
import { type TeacherOptions, teacherTask } from "./teacher.ts";
import type { TeacherSpec } from "./teacher-pass.ts";
import type { TokenSet } from "./token-set.ts";

export interface StepInput {
  readonly step: number;
  /** All steps of the run, for what changes over time. */
  readonly steps: number;
  /** Which equal part of the step's texts, by all threads and one after the other. */
  readonly shard: { readonly index: number; readonly count: number };
  readonly weights: ReadonlyMap<string, Float32Array>;
  /** To be added to. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

export interface StepReport {
  readonly loss: number;
  /** Parts of the loss by name, unweighted. */
  readonly parts: Readonly<Record<string, number>>;
  /** Positions computed. */
  readonly tokens: number;
  /** Multiply-adds in matrix products, forward and backward. */
  readonly multiplyAdds: number;
}

export interface Task {
  step(input: StepInput): StepReport;
}

/** All that a thread needs to build its task; plain data and shared arrays. */
export type TaskSpec = {
  readonly model: ModelConfig;
  readonly data: TokenSet;
  /** Texts of a step. */
  readonly batchSize: number;
  readonly buckets: readonly number[];
  readonly seed: number;
} & (
  | { readonly kind: "teacher"; readonly options: TeacherOptions }
  | {
      readonly kind: "student";
      readonly options: StudentOptions;
      /** Whose logits and hidden states are matched, where a phase says so. */
      readonly teacher?: TeacherSpec | undefined;
    }
);

export function createTask(spec: TaskSpec, kernels: FloatKernels): Task {
  return spec.kind === "teacher"
    ? teacherTask(spec, spec.options, kernels)
    : studentTask(spec, spec.options, { teacher: spec.teacher, kernels });
}
