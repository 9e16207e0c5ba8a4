// How does the cost of a private token grow with the text's length and with the model's size? What
// does not fit here is computed: bytes and round trips exactly, times by a line through those of
// the measured models.

import {
  generationOptions,
  loadConfig,
  loadFloatKernels,
  type ModelConfig,
  planGeneration,
  predict,
  randomModel,
} from "../../src/index.ts";
import type { BenchContext, Group } from "../context.ts";
import { makeRow, type Row, type RowOptions } from "../rows.ts";
import { measureModel, memoryRows, SHAPE, tokenRows } from "./token.ts";

const LENGTHS = [16, 32, 64, 128, 256, 512];
/** Steps up to a length whose median stands for it. */
const WINDOW = 8;
const PROMPT_TOKENS = 4;
const SIZES = ["distilgpt2", "gpt2", "gpt2-medium", "gpt-391m"];
const MODELLED = "gpt2-xl";
const MODELLED_LAYERS = 48;
/** Tokens for which sizes are measured and modelled alike. */
const SIZE_TOKENS = 9;

/** One long text: each length's tokens are those that lead up to it. */
async function runLengths(context: BenchContext): Promise<Row[]> {
  const { shape = context.quick ? "distilgpt2" : SHAPE } = context;
  const longest = LENGTHS.at(-1)!;
  // The last token is chosen from a state and has no position of its own.
  const tokens = longest - PROMPT_TOKENS + 1;
  const size = { promptTokens: PROMPT_TOKENS, tokens, warmUpTokens: 4 };
  const { run, plain } = await measureModel(context, { shape, positions: longest }, size);
  return LENGTHS.flatMap((length) => {
    // After step i, counted from 0, there are PROMPT_TOKENS + i + 1 positions.
    const end = length - PROMPT_TOKENS;
    const window = (seconds: readonly number[]) =>
      seconds.slice(Math.max(0, end - WINDOW), end).map((each) => 1000 * each);
    const title = `${shape}, ${length} positions`;
    const unit = { unit: "ms", better: "less" } as const;
    const clear = makeRow({
      name: `${title}: in the clear, a token`,
      samples: window(plain.timing.seconds),
      ...unit,
    });
    const online = makeRow({
      name: `${title}: online, a token`,
      samples: window(run.step.stepSeconds),
      reference: { name: "in the clear", value: clear.median },
      ...unit,
    });
    return [online, clear];
  });
}

/** Exact costs of a token after the prompt, from plans of two lengths. */
export async function tokenCost(config: ModelConfig, tokens: number) {
  const of = async (maxTokens: number) => {
    const options = generationOptions(config, PROMPT_TOKENS, { maxTokens });
    return predict(await planGeneration(config, options));
  };
  const [one, many] = [await of(1), await of(tokens)];
  const each = (value: (of: typeof one) => number) => (value(many) - value(one)) / (tokens - 1);
  return {
    roundTrips: each(({ online }) => online.roundTrips),
    onlineBytes: each(({ online }) => online.clientSentBytes + online.serverSentBytes),
    offlineBytes: each(
      ({ offline }) =>
        offline.dealerToServerBytes + offline.dealerToClientBytes + offline.clientToServerBytes,
    ),
    multiplyAdds: each(({ multiplyAdds }) => multiplyAdds.server),
  };
}

/** A config of a large shape whose layers all state the numbers of a single one that was made. */
export async function repeatedConfig(shape: string, layerCount: number): Promise<ModelConfig> {
  const made = randomModel(
    { shape, recipe: "merge", norm: "layernorm", layers: 1, seed: 1 },
    await loadFloatKernels(),
  );
  const { weightFracBits = {}, wireBounds = [] } = made.config;
  const bits = Object.entries(weightFracBits).flatMap(([name, value]) =>
    Array.from({ length: name.startsWith("layers.0.") ? layerCount : 1 }, (_, layer) => [
      name.replace("layers.0.", `layers.${layer}.`),
      value,
    ]),
  );
  return {
    ...made.config,
    layerCount,
    weightFracBits: Object.fromEntries(bits),
    wireBounds: Array.from({ length: layerCount }, () => wireBounds[0]!),
  };
}

interface Point {
  readonly multiplyAdds: number;
  readonly online: number;
  readonly offline: number;
  readonly plain: number;
}

/** The value at x of the least-squares line through points; through 0 where there is but one. */
export function lineThrough(points: readonly (readonly [number, number])[], x: number): number {
  const mean = (values: number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;
  const [meanX, meanY] = [mean(points.map(([at]) => at)), mean(points.map(([, y]) => y))];
  if (points.length === 1) return (meanY * x) / meanX;
  const covariance = mean(points.map(([at, y]) => (at - meanX) * (y - meanY)));
  const variance = mean(points.map(([at]) => (at - meanX) ** 2));
  return meanY + (covariance / variance) * (x - meanX);
}

async function modelledRows(points: readonly Point[]): Promise<Row[]> {
  const config = await repeatedConfig(MODELLED, MODELLED_LAYERS);
  const cost = await tokenCost(config, SIZE_TOKENS);
  const at = (key: "online" | "offline" | "plain") =>
    lineThrough(
      points.map((point) => [point.multiplyAdds, point[key]] as const),
      cost.multiplyAdds,
    );
  const plain = at("plain");
  const row = (name: string, unit: string, value: number, against?: RowOptions["reference"]) =>
    makeRow({
      name: `${MODELLED}: ${name}`,
      unit,
      better: "less",
      samples: [value],
      reference: against,
      modelled: true,
    });
  const reference = { name: "in the clear", value: plain };
  return [
    row("online, a token", "ms", at("online"), reference),
    row("offline, a token", "ms", at("offline"), reference),
    row("in the clear, a token", "ms", plain),
    row("online bytes, a token", "kB", cost.onlineBytes / 1e3),
    row("offline bytes, a token", "kB", cost.offlineBytes / 1e3),
    row("round trips, a token", "1", cost.roundTrips),
  ];
}

async function runSizes(context: BenchContext): Promise<Row[]> {
  const rows: Row[] = [];
  const points: Point[] = [];
  const size = { promptTokens: PROMPT_TOKENS, tokens: SIZE_TOKENS, warmUpTokens: 2 };
  for (const shape of SIZES) {
    context.note(`sizes: ${shape}`);
    const { run, plain } = await measureModel(context, { shape }, size);
    rows.push(...tokenRows(shape, [run], plain), ...memoryRows(shape, run, plain));
    const folder = await context.modelFolder({ shape });
    const { multiplyAdds } = await tokenCost(await loadConfig(folder), SIZE_TOKENS);
    const { perToken } = run.step;
    points.push({
      multiplyAdds,
      online: 1000 * perToken.onlineSeconds,
      offline: 1000 * perToken.offlineSeconds,
      plain: 1000 * plain.timing.secondsPerToken,
    });
  }
  return [...rows, ...(await modelledRows(points))];
}

export const lengths: Group = {
  name: "lengths",
  question: `a private token by the positions before it, 16 to 512; medians of ${WINDOW} steps`,
  run: runLengths,
};

export const sizes: Group = {
  name: "sizes",
  question: `a private token by the model's size; ${MODELLED} (1.5 B) by the cost model alone`,
  run: runSizes,
};
