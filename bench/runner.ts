// Runs groups of benchmarks one after the other: the machine's limits first, then whatever is asked
// for, and puts all rows into one result.

import { loadavg } from "node:os";
import { ensure, MergenError } from "../src/index.ts";
import type { BenchContext, Group } from "./context.ts";
import { anchors } from "./groups/anchors.ts";
import { floatKernels } from "./groups/float-kernels.ts";
import { functionKeys } from "./groups/function-keys.ts";
import { measureLimits } from "./groups/limits.ts";
import { ringKernels } from "./groups/ring-kernels.ts";
import { lengths, sizes } from "./groups/scaling.ts";
import { sessions } from "./groups/sessions.ts";
import { flame, token } from "./groups/token.ts";
import { transport } from "./groups/transport.ts";
import { type Machine, thisMachine } from "./machine.ts";
import type { Row } from "./rows.ts";

/** In the order in which they run. */
const groups: readonly Group[] = [
  ringKernels,
  floatKernels,
  functionKeys,
  transport,
  token,
  flame,
  lengths,
  sizes,
  sessions,
  anchors,
];

/** Runs before all others, whatever is asked for. */
const LIMITS = "limits";

export const groupNames: readonly string[] = [LIMITS, ...groups.map(({ name }) => name)];

/** Bumped when files of results change their meaning. */
export const RESULT_FORMAT = "mergen-bench-1";

export interface GroupResult {
  readonly name: string;
  readonly question: string;
  readonly seconds: number;
  readonly rows: readonly Row[];
}

export interface BenchResult {
  readonly format: typeof RESULT_FORMAT;
  readonly machine: Machine;
  /** What runs on it: "native, avx512", say. */
  readonly kernels: { readonly ring: string; readonly float: string; readonly checksum: string };
  readonly quick: boolean;
  /** Whatever should be known of the run: that others used the machine, say. */
  readonly remark?: string;
  readonly startedAt: string;
  /** Processes that wanted to run, mean of a minute, before and after. */
  readonly load: readonly [number, number];
  readonly groups: readonly GroupResult[];
}

export interface RunnerOptions {
  readonly context: Omit<BenchContext, "limits">;
  readonly kernels: BenchResult["kernels"];
  /** Names of groups; default all that do not have to be asked for. */
  readonly only?: readonly string[] | undefined;
  readonly remark?: string | undefined;
}

/** @throws E_USAGE naming the groups that there are, and what the groups throw */
export async function runBench({
  context,
  kernels,
  only,
  remark,
}: RunnerOptions): Promise<BenchResult> {
  const chosen = choose(only);
  const machine = thisMachine(); // the commit is the one that began
  const startedAt = new Date().toISOString();
  const before = loadavg()[0]!;
  const results: GroupResult[] = [];
  const timed = async (name: string, question: string, run: () => Promise<Row[]>) => {
    context.note(`${name}: ${question}`);
    const started = performance.now();
    const rows = await run();
    results.push({ name, question, seconds: (performance.now() - started) / 1000, rows });
  };
  let limits: BenchContext["limits"];
  await timed(LIMITS, "what one core can do at the most", async () => {
    const measured = measureLimits(context);
    limits = measured.limits;
    return measured.rows;
  });
  for (const group of chosen) {
    await timed(group.name, group.question, () => group.run({ ...context, limits }));
  }
  return {
    format: RESULT_FORMAT,
    machine,
    kernels,
    quick: context.quick,
    ...(remark !== undefined && { remark }),
    startedAt,
    load: [before, loadavg()[0]!],
    groups: results,
  };
}

function choose(only: readonly string[] | undefined): Group[] {
  if (only === undefined) return groups.filter(({ onRequest }) => !onRequest);
  const unknown = only.find((name) => !groupNames.includes(name));
  ensure(
    unknown === undefined,
    "E_USAGE",
    `there is no group ${unknown}; take some of ${groupNames.join(", ")}`,
  );
  return groups.filter(({ name }) => only.includes(name));
}

/** The result in a file. @throws E_DATA when it is none, E_VERSION when it is of another format */
export function parseResult(text: string, path: string): BenchResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const { format, groups: found } = (value ?? {}) as Partial<BenchResult>;
  ensure(Array.isArray(found), "E_DATA", `${path}: no result of mergen bench run`);
  if (format !== RESULT_FORMAT) {
    throw new MergenError("E_VERSION", `${path}: format ${format}, not ${RESULT_FORMAT}`);
  }
  return value as BenchResult;
}
