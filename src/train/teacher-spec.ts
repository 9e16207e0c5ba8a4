// A teacher as the threads of a run need it, checked against the student that is to come near it.

import { ensure, MergenError } from "../errors.ts";
import type { Model } from "../model/checkpoint.ts";
import type { ModelConfig } from "../model/config.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { sharedVector } from "./parameters.ts";
import type { StudentOptions } from "./student-phases.ts";
import type { TeacherSpec } from "./teacher-pass.ts";

interface Student {
  readonly model: ModelConfig;
  readonly tokenizer: Tokenizer;
  /** Of the longest prompt and text that it learns. */
  readonly positions: number;
}

/**
 * The teacher with its weights in shared memory.
 * @throws E_CONFIG when it is none that the student's logits or hidden states can be held to
 */
export function teacherSpec(
  teacher: Model,
  student: Student,
  { phases, hiddenLayers }: Pick<StudentOptions, "phases" | "hiddenLayers">,
): TeacherSpec {
  const { config } = teacher;
  const parts = phases.flatMap((phase) => phase.parts);
  const wrong = (what: string) => new MergenError("E_CONFIG", `the teacher does not fit: ${what}`);
  const differ = (key: "vocabSize" | "layerCount" | "hiddenSize") => {
    const [its, own] = [config[key], student.model[key]];
    if (its !== own) throw wrong(`its ${key} is ${its}, the student's ${own}`);
  };
  differ("vocabSize");
  const same = JSON.stringify(vocabularyOf(teacher)) === JSON.stringify(vocabularyOf(student));
  if (!same) throw wrong("its tokenizer is another than the student's");
  if (config.positionCount < student.positions && config.rope === undefined) {
    throw wrong(`it has ${config.positionCount} positions, the texts ${student.positions}`);
  }
  if (parts.some(({ hidden }) => hidden > 0)) {
    differ("hiddenSize");
    if (hiddenLayers !== "last") differ("layerCount");
    if (typeof hiddenLayers !== "string") {
      const fits = hiddenLayers.every((layer) => layer < config.layerCount);
      ensure(fits, "E_CONFIG", `hiddenLayers: the models have ${config.layerCount} layers, from 0`);
    }
  }
  const weights = new Map(
    [...teacher.weights].map(([name, { data }]) => {
      const shared = sharedVector(data.length);
      shared.set(data);
      return [name, shared];
    }),
  );
  return { model: config, weights };
}

/** What ids mean. */
function vocabularyOf({ tokenizer }: { tokenizer: Tokenizer }): unknown {
  const { model, added_tokens } = tokenizer.files.tokenizer as Record<string, unknown>;
  return [model, added_tokens];
}
