import { basename, resolve } from "node:path";
import { type Command, Option } from "commander";
import { type Comparison, compareResults, readResults, TOLERANCE } from "../../../bench/compare.ts";
import { thisMachine } from "../../../bench/machine.ts";
import { measureSessions, type SessionsReport } from "../../../bench/sessions.ts";
import { measureStep, type StepReport } from "../../../bench/step.ts";
import {
  type AskedOptions,
  Client,
  decodeFloat,
  describeKernels,
  ensure,
  type LinkOptions,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  networks,
} from "../../../src/index.ts";
import { type ModelFlags, modelFolder, modelOptions } from "../bench-model.ts";
import { promptOf } from "../bench-prompt.ts";
import { interruptible, stopSignal } from "../network.ts";
import { integer, nextOption, real } from "../options.ts";
import { bytes, note, printJson, table } from "../output.ts";
import { type Family, startParties, withFamily } from "../processes.ts";
import { addBenchPaper } from "./bench-paper.ts";
import { addBenchRun } from "./bench-run.ts";

interface StepFlags extends ModelFlags {
  readonly promptTokens?: number;
  readonly tokens?: number;
  readonly warmUp: number;
  readonly network: keyof typeof networks;
  readonly next?: AskedOptions["next"];
  readonly json?: boolean;
}

interface SessionsFlags extends ModelFlags {
  readonly tokens: number;
  readonly clients: number;
  readonly json?: boolean;
}

/** `mergen bench`: what private text costs on this machine. */
export function addBench(root: Command): void {
  const bench = root.command("bench").description("measure what private text costs");
  addBenchRun(bench);
  addStep(bench);
  addSessions(bench);
  addBenchPaper(bench);
  addCompare(bench);
}

/** Tokens of a measured text, where the model has positions for so many. */
const TOKENS = 64;

function addStep(bench: Command): void {
  modelOptions(bench.command("step"))
    .description("one private token: three processes on this machine, and the same in the clear")
    .option(
      "--prompt-tokens <n>",
      "tokens of the prompt (default: 4, or what the model's slots take)",
      integer(1),
    )
    .option(
      "--tokens <n>",
      `tokens that are generated (default: ${TOKENS}, or what fits the model)`,
      integer(2),
    )
    .option(
      "--warm-up <n>",
      "tokens of a generation before, not measured; at most what fits",
      integer(0),
      16,
    )
    .addOption(
      new Option("--network <name>", "between client and server")
        .choices(Object.keys(networks))
        .default("loopback"),
    )
    .addOption(nextOption())
    .option("--json", "print one compact JSON object")
    .addHelpText("after", "\nExample:\n  $ mergen bench step --shape gpt2 --tokens 64 --json")
    .action(step);
}

async function step(flags: StepFlags): Promise<void> {
  const signal = stopSignal();
  const folder = await modelFolder(flags);
  const model = await loadModel(folder);
  const { text: prompt, tokens: promptTokens } = promptOf(model, flags.promptTokens);
  const room = model.config.positionCount - promptTokens + 1;
  const tokens = flags.tokens ?? Math.max(2, Math.min(TOKENS, room));
  const size = { tokens, warmUpTokens: Math.min(flags.warmUp, room), prompt };
  const report = await withFamily(signal, (family) =>
    interruptible(signal, measurePrivately(flags, { ...size, folder, family })),
  );
  const plain = decodeFloat(model, await loadFloatKernels(), { promptTokens, tokens });
  const { stepSeconds: _each, tokens: _ids, ...costs } = report;
  const result = {
    ...measuredModel(flags),
    recipe: model.config.recipe,
    norm: model.config.norm.kind,
    promptTokens,
    tokens,
    network: flags.network,
    ...(flags.next !== undefined && { next: flags.next }),
    ...costs,
    ...(flags.network !== "loopback" && { floor: floorOf(report, networks[flags.network]) }),
    plaintextSecondsPerToken: plain.secondsPerToken,
    slowdown: report.perToken.onlineSeconds / plain.secondsPerToken,
    kernels: (await describeKernels()).ring.detail,
    machine: thisMachine(),
  };
  if (flags.json) printJson(result);
  else note(table(rows(result)));
}

/** What a network alone takes for these round trips and bytes, and how near the run came to it. */
function floorOf({ total, totalSeconds }: StepReport, network: LinkOptions) {
  const roundTrips = (total.roundTrips * 2 * network.delayMs) / 1000;
  const seconds = roundTrips + (8 * total.bytes) / network.bitsPerSecond;
  return { seconds, ratio: totalSeconds / seconds };
}

async function measurePrivately(
  { network, next }: StepFlags,
  task: { tokens: number; warmUpTokens: number; prompt: string; folder: string; family: Family },
): Promise<StepReport> {
  const { folder, family, ...size } = task;
  const { connectServer, connectDealer } = await startParties(folder, family, { network });
  const client = new Client({ kernels: await loadRingKernels() });
  return measureStep({ client, connectServer, connectDealer, ...size, next });
}

/** The name of a folder that was given, else the shape of what was made. */
function measuredModel({ model, shape }: ModelFlags): { model: string } | { shape: string } {
  return model === undefined ? { shape } : { model: basename(resolve(model)) };
}

function addSessions(bench: Command): void {
  modelOptions(bench.command("sessions"))
    .description("several clients of one server at a time, against one client alone")
    .option("--clients <n>", "clients at a time", integer(1), 4)
    .option("--tokens <n>", "tokens of each client", integer(2), 32)
    .option("--json", "print one compact JSON object")
    .action(sessions);
}

async function sessions(flags: SessionsFlags): Promise<void> {
  const signal = stopSignal();
  const folder = await modelFolder(flags);
  const { text: prompt } = promptOf(await loadModel(folder), undefined);
  const serverOptions = ["--max-sessions", String(flags.clients)];
  const measured = await withFamily(signal, async (family) => {
    const { server, dealer } = await startParties(folder, family, { serverOptions });
    const task = { server, dealer, prompt, tokens: flags.tokens };
    await interruptible(signal, measureSessions({ ...task, clients: 1 })); // warms up
    const alone = await interruptible(signal, measureSessions({ ...task, clients: 1 }));
    const { clients } = flags;
    return { alone, together: await interruptible(signal, measureSessions({ ...task, clients })) };
  });
  const ratio = measured.together.tokensPerSecond / measured.alone.tokensPerSecond;
  const result = { ...measuredModel(flags), ...measured, ratio, machine: thisMachine() };
  if (flags.json) printJson(result);
  else {
    const rate = (report: SessionsReport) => `${report.tokensPerSecond.toFixed(1)} tokens/s`;
    note(`1 client ${rate(measured.alone)}, ${flags.clients} clients ${rate(measured.together)}`);
  }
}

interface CompareFlags {
  readonly tolerance: number;
  readonly strict?: boolean;
  readonly json?: boolean;
}

function addCompare(bench: Command): void {
  const file = "result of `bench run`, or JSON lines of the other benchmarks";
  bench
    .command("compare")
    .description("compare two files of results where they measure the same, and say what is worse")
    .argument("<before>", file)
    .argument("<after>", file)
    .option("--tolerance <part>", "what may change without being called so", real, TOLERANCE)
    .option("--strict", "end with status 1 if anything is worse")
    .option("--json", "print one JSON object a line")
    .action(compare);
}

function compare(before: string, after: string, flags: CompareFlags): void {
  const { tolerance, strict, json } = flags;
  ensure(tolerance >= 0, "E_USAGE", "--tolerance must not be below 0");
  const compared = compareResults(readResults(before), readResults(after), tolerance);
  const found = compared.pairs;
  noteAlone(before, compared.beforeAlone);
  noteAlone(after, compared.afterAlone);
  ensure(found.length > 0, "E_DATA", `${before} and ${after} measure nothing in common`);
  if (json) found.forEach(printJson);
  else process.stdout.write(`${table(comparisonRows(found))}\n`);
  const worse = found.filter(({ verdict }) => verdict === "worse");
  note(`figures in both: ${found.length}, ${worse.length} worse`);
  if (strict && worse.length > 0) process.exitCode = 1;
}

/** Figures without a partner that are named at the most. */
const NAMED_ALONE = 20;

/** Says what one file alone has measured. */
function noteAlone(path: string, names: readonly string[]): void {
  if (names.length === 0) return;
  const more = names.length - NAMED_ALONE;
  note(`in ${path} alone: ${names.length === 1 ? "1 figure" : `${names.length} figures`}`);
  for (const name of names.slice(0, NAMED_ALONE)) note(`  ${name}`);
  if (more > 0) note(`  and ${more} more`);
}

function comparisonRows(found: readonly Comparison[]): string[][] {
  return [
    ["", "before", "after", "after / before", ""],
    ...found.map(({ name, before, after, change, verdict }) => [
      name,
      before.toPrecision(4),
      after.toPrecision(4),
      change.toFixed(3),
      verdict,
    ]),
  ];
}

type Row = Pick<StepReport, "prompt" | "perToken"> & { plaintextSecondsPerToken: number };

function rows({ prompt, perToken, plaintextSecondsPerToken }: Row): string[][] {
  const ms = (seconds: number) => `${(1000 * seconds).toFixed(2)} ms`;
  return [
    ["prompt pass, online", ms(prompt.onlineSeconds)],
    ["a token, online (median)", ms(perToken.onlineSeconds)],
    ["a token, offline", ms(perToken.offlineSeconds)],
    ["a token, in the clear", ms(plaintextSecondsPerToken)],
    ["round trips a token", perToken.roundTrips.toFixed(2)],
    ["bytes a token, online", bytes(perToken.onlineBytes)],
    ["bytes a token, offline", bytes(perToken.offlineBytes)],
  ];
}
