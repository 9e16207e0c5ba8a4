import type { Command } from "commander";
import {
  Client,
  encodePrompt,
  floatBench,
  type Generation,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  type Model,
  threadPreparer,
} from "../../../src/index.ts";
import { checkSignal, interruptible, stopSignal } from "../network.ts";
import { argumentText, integer, modelOption } from "../options.ts";
import { costRows, note, printJson, table } from "../output.ts";
import { type Family, startParties, withFamily } from "../processes.ts";

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
  const secure = await withFamily(signal, (family) =>
    interruptible(signal, generateSecurely(flags, family)),
  );
  const float = await generateInTheClear(flags, model);
  checkSignal(signal);
  if (flags.json) [secure, float].forEach(printJson);
  else printComparison(secure, float);
}

async function generateSecurely(flags: DemoFlags, family: Family): Promise<Generation> {
  const started = performance.now();
  const { dealer, server, connectDealer, connectServer } = await startParties(flags.model, family);
  const client = new Client({ kernels: await loadRingKernels(), startPreparer: threadPreparer });
  if (!flags.json) {
    note(`dealer ${dealer.url}, server ${server.url}: ready in ${seconds(started)} s`);
    note(`prompt, which neither will see: ${flags.input}\n`);
  }
  const { maxTokens, anchor } = flags;
  const generation = await client.generate({
    connectDealer,
    connectServer,
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

const seconds = (since: number) => ((performance.now() - since) / 1000).toFixed(1);

function printComparison(secure: Generation, float: Generation): void {
  const same = secure.text === float.text;
  note(table(costRows(secure)));
  note("");
  note(`in the clear, float32: ${same ? "the same text" : float.text}`);
  const perToken = float.online.seconds / Math.max(1, float.tokens.length);
  note(`in the clear, seconds per token: ${perToken.toFixed(4)}`);
}
