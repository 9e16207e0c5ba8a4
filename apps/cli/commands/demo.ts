import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Command } from "commander";
import {
  Client,
  encodePrompt,
  floatBench,
  type Generation,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  MergenError,
  type Model,
} from "../../../src/index.ts";
import { checkSignal, connector, interruptible, stopSignal } from "../network.ts";
import { argumentText, integer, modelOption } from "../options.ts";
import { costRows, note, printJson, table } from "../output.ts";
import { launcher } from "../package-info.ts";

interface DemoFlags {
  readonly model: string;
  readonly input: string;
  readonly maxTokens?: number;
  readonly anchor?: number;
  readonly json?: boolean;
}

const DEMO_INPUT =
  "name[The Golden Curry], food[Indian], priceRange[cheap], customer rating[5 out of 5], " +
  "area[riverside], familyFriendly[yes], near[Café Rouge]";
const START_TIMEOUT_MS = 60_000;
/** Before the end of this process is forced, too. */
const STOP_TIMEOUT_MS = 2000;

/** `mergen demo`: dealer and server as processes of their own, this process as the client. */
export function addDemo(root: Command): void {
  root
    .command("demo")
    .description("start a dealer, a server and a client on this machine and generate one text")
    .addOption(modelOption)
    .option("--input <text>", "what to describe", DEMO_INPUT)
    .option("--max-tokens <n>", "tokens at most (default: from the model)", integer(1))
    .option("--anchor <k>", "send every k-th token back (default: from the model)", integer(0))
    .option("--json", "print two lines: the secure generation, then the float one")
    .addHelpText(
      "after",
      '\nExample:\n  $ mergen demo --input "name[The Eagle], food[French], area[riverside]"',
    )
    .action(demo);
}

async function demo(flags: DemoFlags): Promise<void> {
  const signal = stopSignal();
  const model = await loadModel(flags.model);
  encodePrompt(argumentText(flags.input), model.config, model.tokenizer);
  const family: Family = { signal, children: [] };
  const stop = () => void family.children.forEach((child) => void child.kill("SIGTERM"));
  signal.addEventListener("abort", stop);
  let secure: Generation;
  try {
    secure = await interruptible(signal, generateSecurely(flags, family));
  } finally {
    stop();
    await Promise.all(family.children.map(ended));
  }
  const float = await generateInTheClear(flags, model);
  checkSignal(signal);
  if (flags.json) [secure, float].forEach(printJson);
  else printComparison(secure, float);
}

/** The processes that this one has started, and what ends them all. */
interface Family {
  readonly signal: AbortSignal;
  readonly children: ChildProcess[];
}

/** Waits for a process that has been told to end, and ends it where it does not. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await once(child, "exit");
  clearTimeout(timer);
}

async function generateSecurely(flags: DemoFlags, family: Family): Promise<Generation> {
  const started = performance.now();
  const dealerToken = randomBytes(24).toString("base64url");
  const serverToken = randomBytes(24).toString("base64url");
  const dealerArgs = ["dealer", "--port", "0"];
  const dealer = await start(dealerArgs, { MERGEN_TOKEN: dealerToken }, family);
  const serverArgs = ["serve", "--port", "0", "--model", flags.model, "--dealer", dealer];
  const tokens = { MERGEN_TOKEN: serverToken, MERGEN_DEALER_TOKEN: dealerToken };
  const server = await start(serverArgs, tokens, family);
  const client = new Client({ kernels: await loadRingKernels() });
  if (!flags.json) {
    note(`dealer ${dealer}, server ${server}: ready in ${seconds(started)} s`);
    note(`prompt, which neither will see: ${flags.input}\n`);
  }
  const { maxTokens, anchor } = flags;
  const generation = await client.generate({
    connectServer: connector("server", server, { token: serverToken }),
    connectDealer: connector("dealer", dealer, { token: dealerToken }),
    prompt: flags.input,
    ...(maxTokens !== undefined && { maxTokens }),
    ...(anchor !== undefined && { anchor }),
    signal: family.signal,
    ...(!flags.json && { onText: (piece: string) => void process.stdout.write(piece) }),
  });
  if (!flags.json) process.stdout.write("\n\n");
  return generation;
}

async function generateInTheClear(flags: DemoFlags, model: Model): Promise<Generation> {
  const bench = floatBench(model, await loadFloatKernels());
  const { maxTokens, anchor } = flags;
  await bench({ prompt: flags.input, maxTokens, anchor }); // traces the graphs once
  return bench({ prompt: flags.input, maxTokens, anchor });
}

/** Starts a process of this program and waits for the address it listens on. */
function start(
  args: string[],
  env: Record<string, string>,
  { signal, children }: Family,
): Promise<string> {
  checkSignal(signal);
  const child = fork(launcher(), args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  children.push(child);
  let said = "";
  child.stderr!.on("data", (chunk) => {
    said = (said + chunk).slice(-2000);
  });
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new MergenError("E_PEER_GONE", `the ${args[0]} process ${why}\n${said.trim()}`));
    };
    const timer = setTimeout(() => fail("did not start in time"), START_TIMEOUT_MS);
    child.once("exit", (code) => fail(`ended with status ${code}`));
    child.once("message", (message: { url: string }) => {
      clearTimeout(timer);
      child.removeAllListeners("exit");
      resolve(message.url);
    });
  });
}

const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1);

function printComparison(secure: Generation, float: Generation): void {
  const same = secure.text === float.text;
  note(table(costRows(secure)));
  note("");
  note(`in the clear, float32: ${same ? "the same text" : float.text}`);
  const perToken = float.online.seconds / Math.max(1, float.tokens.length);
  note(`in the clear, seconds per token: ${perToken.toFixed(4)}`);
}
