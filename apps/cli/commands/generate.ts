import { type Command, Option } from "commander";
import {
  Client,
  fileStore,
  type Generation,
  loadConfig,
  loadRingKernels,
  memoryStore,
  threadPreparer,
} from "../../../src/index.ts";
import { busyPollOption, connector, interruptible, stopSignal } from "../network.ts";
import {
  checkRecipe,
  integer,
  prompts,
  sampling,
  type TextOptions,
  textOptions,
} from "../options.ts";
import { costRows, note, Progress, printJson, table } from "../output.ts";

interface GenerateFlags extends TextOptions {
  readonly server: string;
  readonly dealer: string;
  readonly serverToken?: string;
  readonly dealerToken?: string;
  readonly ca?: string;
  readonly bundles?: string;
  readonly timeout: number;
  readonly busyPoll: number;
  readonly model?: string;
}

/** `mergen generate`: the client. */
export function addGenerate(root: Command): void {
  const command = root
    .command("generate")
    .description("generate text privately from a server's model")
    .requiredOption("--server <url>", "address of the server, ws:// or wss://")
    .requiredOption("--dealer <url>", "address of the dealer, ws:// or wss://")
    .addOption(
      new Option("--server-token <text>", "bearer token for the server").env("MERGEN_TOKEN"),
    )
    .addOption(
      new Option("--dealer-token <text>", "bearer token for the dealer").env("MERGEN_DEALER_TOKEN"),
    )
    .option("--ca <file>", "PEM of the authority that signed the peers' certificates")
    .option("--bundles <dir>", "keep bundles in this folder instead of in memory")
    .option("--timeout <seconds>", "longest wait for a peer's next message", integer(1), 120)
    .addOption(busyPollOption())
    .option("--model <dir>", "refuse a server that offers another config.json than this folder's");
  textOptions(command, "refuse a model of another recipe")
    .addHelpText(
      "after",
      "\nExample:\n" +
        "  $ mergen generate --server ws://127.0.0.1:8701 --dealer ws://127.0.0.1:8702 \\\n" +
        '      --input "name[The Eagle], food[French], area[riverside]"',
    )
    .action(generate);
}

async function generate(flags: GenerateFlags): Promise<void> {
  const examples = await prompts(flags);
  const expected = flags.model === undefined ? undefined : await loadConfig(flags.model);
  if (expected) checkRecipe(expected, flags.recipe);
  const signal = stopSignal();
  const client = new Client({
    kernels: await loadRingKernels(),
    startPreparer: threadPreparer,
    store: flags.bundles === undefined ? memoryStore() : await fileStore(flags.bundles),
    timeoutMs: flags.timeout * 1000,
  });
  const progress = new Progress("generating", examples.length);
  for (const [index, { input }] of examples.entries()) {
    const running = client.generate({
      connectServer: connector("server", flags.server, {
        token: flags.serverToken,
        ca: flags.ca,
        busyPollMs: flags.busyPoll,
      }),
      connectDealer: connector("dealer", flags.dealer, { token: flags.dealerToken, ca: flags.ca }),
      prompt: input,
      ...asked(flags),
      signal,
      ...(expected && { expectedConfig: expected }),
      ...(flags.recipe !== undefined && { recipe: flags.recipe }),
      ...(!flags.json && { onText: (piece: string) => void process.stdout.write(piece) }),
    });
    printGeneration(await interruptible(signal, running), flags);
    if (flags.json) progress.update(index + 1);
  }
  progress.stop();
}

/** Options of a generation that were given. */
export function asked(flags: TextOptions) {
  const { maxTokens, chunk, anchor, next, reveal } = flags;
  return {
    ...(maxTokens !== undefined && { maxTokens }),
    ...(chunk !== undefined && { chunk }),
    ...(anchor !== undefined && { anchor }),
    ...(next !== undefined && { next }),
    ...(reveal !== undefined && { reveal }),
    ignoreEnd: flags.ignoreEnd ?? false,
    sampling: sampling(flags),
  };
}

/** The result: a JSON line, or (the text having been streamed) the costs on standard error. */
export function printGeneration(generation: Generation, flags: { json?: boolean }): void {
  if (flags.json) {
    printJson(generation);
    return;
  }
  process.stdout.write("\n");
  if (generation.mode === "secure") note(table(costRows(generation)));
}
