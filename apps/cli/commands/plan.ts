import type { Command } from "commander";
import {
  encodePrompt,
  ensure,
  generationOptions,
  loadConfig,
  loadFloatKernels,
  loadModel,
  loadTokenizer,
  type ModelConfig,
  modelWithRecipe,
  planGeneration,
  predict,
  promptPositions,
  servable,
  withRecipe,
} from "../../../src/index.ts";
import {
  boundsOption,
  integer,
  modelOption,
  noteRecipe,
  prompts,
  sampling,
  type TextOptions,
  textOptions,
} from "../options.ts";
import { bytes, printJson, table } from "../output.ts";

interface PlanFlags extends TextOptions {
  readonly model: string;
  readonly promptPositions?: number;
  readonly calibratedBounds?: boolean;
}

/** `mergen plan`: what a generation will cost, without running it. */
export function addPlan(root: Command): void {
  const command = root
    .command("plan")
    .description("predict bytes, round trips and multiply-adds of a generation, without running it")
    .addOption(modelOption)
    .addOption(boundsOption)
    .option("--prompt-positions <n>", "plan a prompt of this length, not one of texts", integer(1));
  textOptions(command)
    .addHelpText(
      "after",
      "\nWithout --input, --data or --prompt-positions, a prompt of the model's least length is\n" +
        "planned.\n\n" +
        "Example:\n  $ mergen plan --max-tokens 24 --json",
    )
    .action(plan);
}

async function plan(flags: PlanFlags): Promise<void> {
  const own = await loadConfig(flags.model);
  const config = await plannedConfig(own, flags);
  noteRecipe(own, flags.recipe);
  for (const { input, positions } of await lengths(config, flags)) {
    const options = generationOptions(config, positions, {
      ...flags,
      sampling: sampling(flags),
    });
    const prediction = predict(await planGeneration(config, options));
    if (flags.json) {
      const shown = input === undefined ? {} : { input };
      printJson({ ...shown, ...options, recipe: config.recipe, ...prediction });
    } else {
      process.stdout.write(`${describe(prediction)}\n`);
    }
  }
}

/**
 * The config as it is served. An ordinary decoder whose wires have no stated ranges gets them from
 * its weights, which are read for that.
 */
async function plannedConfig(
  own: ModelConfig,
  { model: folder, recipe, calibratedBounds }: PlanFlags,
): Promise<ModelConfig> {
  const config = recipe === undefined ? own : withRecipe(own, recipe);
  const stated = config.ranges !== undefined && config.weightFracBits !== undefined;
  if (config.attention === "constant" || stated) return config;
  const model = await loadModel(folder);
  const changed = recipe === undefined ? model : modelWithRecipe(model, recipe);
  return servable(changed, await loadFloatKernels(), { calibratedBounds }).config;
}

/** Prompt positions of each input; of the least prompt where there is none. */
async function lengths(
  config: ModelConfig,
  flags: PlanFlags,
): Promise<{ input?: string; positions: number }[]> {
  const { promptPositions: given } = flags;
  if (flags.input === undefined && flags.data === undefined) {
    return [{ positions: given ?? promptPositions(config.prompt) }];
  }
  ensure(given === undefined, "E_USAGE", "--prompt-positions goes without --input and --data");
  const tokenizer = await loadTokenizer(flags.model);
  const examples = await prompts(flags);
  return examples.map(({ input }) => ({
    input,
    positions: encodePrompt(input, config, tokenizer, flags).length,
  }));
}

function describe({ online, offline, multiplyAdds, digest }: ReturnType<typeof predict>): string {
  return table([
    ["plan", digest.slice(0, 16)],
    ["round trips", String(online.roundTrips)],
    ["client to server, online", bytes(online.clientSentBytes)],
    ["server to client, online", bytes(online.serverSentBytes)],
    ["dealer to server, offline", bytes(offline.dealerToServerBytes)],
    ["dealer to client, offline", bytes(offline.dealerToClientBytes)],
    ["client to server, offline", bytes(offline.clientToServerBytes)],
    ["server to dealer, once per model", bytes(offline.serverToDealerBytes)],
    ["multiply-adds each: S online, C and D offline", multiplyAdds.server.toExponential(2)],
  ]);
}
