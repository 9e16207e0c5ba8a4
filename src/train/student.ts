// The student's task: a model learns the teacher's outputs, and where its phases say so while its
// own hidden states are re-sent as inputs (MERGE, Liang et al. 2024, §3.2, and beyond it), or the
// teacher's logits and hidden states on the same texts.

import { ensure } from "../errors.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import { Random } from "../model/random.ts";
import { Arena } from "../run/arena.ts";
import { Batches } from "./batches.ts";
import { addStatistics, trainedOnly } from "./statistics.ts";
import { randomInput, studentInputs } from "./student-inputs.ts";
import { phaseAt, type StudentOptions, type StudentPhase } from "./student-phases.ts";
import { type Traced, trace } from "./student-trace.ts";
import type { Task, TaskSpec } from "./task.ts";
import { TeacherPass, type TeacherSpec, type TeacherTexts } from "./teacher-pass.ts";

/** The program of one phase and shape, and the teacher's of each part that asks for one. */
interface Prepared extends Traced {
  readonly teachers: ReadonlyMap<number, TeacherPass>;
}

type Means = { readonly kernels: FloatKernels; readonly arena: Arena };

/** @throws E_CONFIG when a part needs a teacher and there is none */
export function studentTask(
  { model, data, batchSize, buckets, seed }: TaskSpec,
  options: StudentOptions,
  { teacher, kernels }: { teacher?: TeacherSpec | undefined; kernels: FloatKernels },
): Task {
  const batches = new Batches(data.lengths, { buckets, size: batchSize, seed });
  const arena = new Arena();
  const prepared = new Map<string, Prepared>();
  return {
    step({ step, steps, shard, weights, gradients }) {
      const whole = batches.at(step);
      const { phase, index, progress } = phaseAt(options.phases, step / steps);
      const shape = {
        rows: whole.items.length / shard.count,
        length: whole.length,
        prompt: data.promptLength,
      };
      const key = `${index} ${shape.rows} ${shape.length}`;
      let entry = prepared.get(key);
      if (!entry) {
        const traced = trace(model, shape, { phase, options }, { kernels, arena });
        const teachers = teacherPasses(teacher, phase, { ...traced, shape }, { kernels, arena });
        entry = { ...traced, teachers };
        prepared.set(key, entry);
      }
      const { program } = entry;
      const { tailWeight } = options;
      const inputs = studentInputs(data, whole, { rows: entry.rows, tailWeight, shard });
      const taught = askTeachers(entry.teachers, inputs);
      const random = new Random(seed, 3, step, shard.index);
      const use = { phase, progress, options, random };
      for (const [name, { shape }] of program.inputs()) {
        if (!inputs.has(name)) inputs.set(name, randomInput(name, shape, use));
      }
      program.run(inputs, weights);
      const value = (tensor: Traced["loss"]) => program.value(tensor)[0];
      const loss = value(entry.loss);
      const parts = Object.fromEntries([...entry.parts].map(([name, t]) => [name, value(t)]));
      addStatistics(program, gradients);
      program.backward(entry.loss, trainedOnly(gradients));
      program.release();
      for (const each of entry.teachers.values()) each.release();
      const multiplyAdds = 3 * program.multiplyAdds + taught;
      return { loss, parts, tokens: entry.positions, multiplyAdds };
    },
  };
}

function teacherPasses(
  teacher: TeacherSpec | undefined,
  { parts }: StudentPhase,
  { rows, layers, shape }: Pick<Traced, "rows" | "layers"> & { shape: TeacherTexts },
  means: Means,
): Map<number, TeacherPass> {
  const passes = new Map<number, TeacherPass>();
  for (const [index, { soft, hidden }] of parts.entries()) {
    if (soft === 0 && hidden === 0) continue;
    ensure(teacher, "E_CONFIG", "soft labels and hidden states need a teacher");
    const asked = { logits: soft > 0, layers: hidden > 0 ? layers : [] };
    passes.set(index, new TeacherPass(teacher, { ...shape, rows: rows[index] }, asked, means));
  }
  return passes;
}

/** Adds the teachers' answers to the inputs; the multiply-adds that they took. */
function askTeachers(
  teachers: ReadonlyMap<number, TeacherPass>,
  inputs: Map<string, Float32Array | Int32Array>,
): number {
  let multiplyAdds = 0;
  for (const [part, teacher] of teachers) {
    const ids = (name: string) => inputs.get(`${part}.${name}`) as Int32Array;
    for (const [name, values] of teacher.read(ids("prompt"), ids("tokens"))) {
      inputs.set(`${part}.${name}`, values);
    }
    multiplyAdds += teacher.multiplyAdds;
  }
  return multiplyAdds;
}
