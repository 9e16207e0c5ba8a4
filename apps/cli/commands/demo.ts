import { type ChildProcess, fork } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { Command } from "commander";
import {
  Client,
  floatBench,
  type Generation,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  MergenError,
} from "../../../src/index.ts";
import { connector, stopSignal } from "../network.ts";
import { integer, modelOption } from "../options.ts";
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
  const children: ChildProcess[] = [];
  const stop = () => void children.forEach((child) => void child.kill("SIGTERM"));
  signal.addEventListener("abort", stop);
  try {
    const secure = await generateSecurely(flags, signal, children);
    const float = await generateInTheClear(flags);
    if (flags.json) [secure, float].forEach(printJson);
    else printComparison(secure, float);
  } finally {
    stop();
  }
}

async function generateSecurely(
  flags: DemoFlags,
  signal: AbortSignal,
  children: ChildProcess[],
): Promise<Generation> {
  const started = performance.now();
  const dealerToken = randomBytes(24).toString("base64url");
  const serverToken = randomBytes(24).toString("base64url");
  const dealerArgs = ["dealer", "--port", "0"];
  const dealer = await start(dealerArgs, { MERGEN_TOKEN: dealerToken }, children);
  const serverArgs = ["serve", "--port", "0", "--model", flags.model, "--dealer", dealer];
  const tokens = { MERGEN_TOKEN: serverToken, MERGEN_DEALER_TOKEN: dealerToken };
  const server = await start(serverArgs, tokens, children);
  const client = new Client({ kernels: await loadRingKernels() });
  if (!flags.json) {
    note(`dealer ${dealer}, server ${server}: ready in ${seconds(started)} s`);
    note(`prompt, which neither will see: ${flags.input}\n`);
  }
  const { maxTokens, anchor } = flags;
  const generation = await client.generate({
    connectServer: connector(server, { token: serverToken }),
    connectDealer: connector(dealer, { token: dealerToken }),
    prompt: flags.input,
    ...(maxTokens !== undefined && { maxTokens }),
    ...(anchor !== undefined && { anchor }),
    signal,
    ...(!flags.json && { onText: (piece: string) => void process.stdout.write(piece) }),
  });
  if (!flags.json) process.stdout.write("\n\n");
  return generation;
}

async function generateInTheClear(flags: DemoFlags): Promise<Generation> {
  const bench = floatBench(await loadModel(flags.model), await loadFloatKernels());
  const { maxTokens, anchor } = flags;
  await bench({ prompt: flags.input, maxTokens, anchor }); // traces the graphs once
  return bench({ prompt: flags.input, maxTokens, anchor });
}

/** Starts a process of this program and waits for the address it listens on. */
function start(
  args: string[],
  env: Record<string, string>,
  children: ChildProcess[],
): Promise<string> {
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
