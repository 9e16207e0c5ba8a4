import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Command, Option } from "commander";
import { compareResults, readResults } from "../../../bench/compare.ts";
import { thisMachine } from "../../../bench/machine.ts";
import { measureSessions, type SessionsReport } from "../../../bench/sessions.ts";
import { measureStep, type StepReport } from "../../../bench/step.ts";
import {
  type AskedOptions,
  Client,
  decodeFloat,
  describeKernels,
  encodePrompt,
  ensure,
  type LinkOptions,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  type Model,
  networks,
  randomModel,
  saveModel,
  shapeNames,
} from "../../../src/index.ts";
import { interruptible, stopSignal } from "../network.ts";
import { integer, nextOption } from "../options.ts";
import { bytes, note, printJson, table } from "../output.ts";
import { packageVersion } from "../package-info.ts";
import { type Family, startParties, withFamily } from "../processes.ts";

/** Which model a benchmark runs. */
interface ModelFlags {
  readonly shape: string;
  readonly recipe: "merge";
  readonly norm: "layernorm" | "affine";
  readonly positions: number;
  readonly model?: string;
  readonly work: string;
}

interface StepFlags extends ModelFlags {
  readonly promptTokens: number;
  readonly tokens: number;
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
  addStep(bench);
  addSessions(bench);
  addCompare(bench);
}

function modelOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--shape <name>", "sizes of the model").choices([...shapeNames]).default("gpt2"),
    )
    .addOption(new Option("--recipe <name>").choices(["merge"]).default("merge"))
    .addOption(new Option("--norm <kind>").choices(["layernorm", "affine"]).default("layernorm"))
    .option("--positions <n>", "of prompt and text together", integer(1), 512)
    .option("--model <dir>", "measure this model in place of one with random weights")
    .option("--work <dir>", "where models for measuring are kept", join(tmpdir(), "mergen-bench"));
}

/** The model's folder; made where it is not there yet. */
async function modelFolder(flags: ModelFlags): Promise<string> {
  const { shape, recipe, norm, positions } = flags;
  if (flags.model !== undefined) return flags.model;
  const name = [shape, recipe, norm, positions, packageVersion()].join("-");
  const folder = join(flags.work, name);
  if (!existsSync(join(folder, "config.json"))) {
    note(`making a ${shape} model with random weights in ${folder}`);
    const model = randomModel(
      { shape, recipe, norm, positions, seed: 1 },
      await loadFloatKernels(),
    );
    await saveModel(folder, model, { int16: true });
  }
  return folder;
}

/** A text of exactly this many tokens. @throws E_PROMPT where the tokenizer does not allow one */
function promptOf(model: Model, tokens: number): string {
  const text = "a".repeat(tokens);
  const count = encodePrompt(text, model.config, model.tokenizer).length;
  ensure(count === tokens, "E_PROMPT", `no prompt of ${tokens} tokens is known for this model`);
  return text;
}

function addStep(bench: Command): void {
  modelOptions(bench.command("step"))
    .description("one private token: three processes on this machine, and the same in the clear")
    .option("--prompt-tokens <n>", "tokens of the prompt", integer(1), 4)
    .option("--tokens <n>", "tokens that are generated", integer(2), 64)
    .option("--warm-up <n>", "tokens of a generation before, not measured", integer(0), 16)
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
  const prompt = promptOf(model, flags.promptTokens);
  const report = await withFamily(signal, (family) =>
    interruptible(signal, measurePrivately(flags, { folder, prompt, family })),
  );
  const { promptTokens, tokens } = flags;
  const plain = decodeFloat(model, await loadFloatKernels(), { promptTokens, tokens });
  const { stepSeconds: _each, tokens: _ids, ...costs } = report;
  const result = {
    shape: flags.shape,
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
  flags: StepFlags,
  { folder, prompt, family }: { folder: string; prompt: string; family: Family },
): Promise<StepReport> {
  const { tokens, warmUp: warmUpTokens, network, next } = flags;
  const { connectServer, connectDealer } = await startParties(folder, family, { network });
  const client = new Client({ kernels: await loadRingKernels() });
  const common = { client, connectServer, connectDealer, prompt };
  return measureStep({ ...common, tokens, warmUpTokens, next });
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
  const prompt = promptOf(await loadModel(folder), 4);
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
  const result = { shape: flags.shape, ...measured, ratio, machine: thisMachine() };
  if (flags.json) printJson(result);
  else {
    const rate = (report: SessionsReport) => `${report.tokensPerSecond.toFixed(1)} tokens/s`;
    note(`1 client ${rate(measured.alone)}, ${flags.clients} clients ${rate(measured.together)}`);
  }
}

function addCompare(bench: Command): void {
  bench
    .command("compare")
    .description("compare two files of results, line by line, where they measure the same")
    .argument("<before>", "JSON lines, as the other benchmarks print them")
    .argument("<after>", "JSON lines, as the other benchmarks print them")
    .action((before: string, after: string) => {
      note(table(compareResults(readResults(before), readResults(after))));
    });
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
