// What a model of any size sends, and has to compute, without running it.

import {
  type GenerationOptions,
  generationOptions,
  type ModelConfig,
  type Part,
  type PartBytes,
  parts,
  planGeneration,
  predictParts,
  type SegmentCost,
  shapeConfig,
  type Task,
} from "../../src/index.ts";
import { type Method, PREFIX } from "./methods.ts";
import type { ModelSize } from "./result.ts";

/** Sums over segments of a generation. */
export interface Costs {
  readonly parts: Readonly<Record<Part, PartBytes>>;
  readonly framing: { readonly onlineBytes: number; readonly offlineBytes: number };
  readonly tasks: readonly Task[];
  readonly multiplyAdds: number;
}

/** Of these segments alone, without headers of frames. */
export function sumCosts(segments: readonly SegmentCost[]): Omit<Costs, "framing"> {
  const sums = Object.fromEntries(
    parts.map((part) => {
      const add = (key: keyof PartBytes) =>
        segments.reduce((sum, segment) => sum + segment.parts[part][key], 0);
      const sum: PartBytes = {
        onlineBytes: add("onlineBytes"),
        roundTrips: add("roundTrips"),
        offlineBytes: add("offlineBytes"),
      };
      return [part, sum];
    }),
  ) as Record<Part, PartBytes>;
  const tasks = sumTasks(segments.flatMap((segment) => segment.tasks.map((task) => [1, task])));
  const multiplyAdds = segments.reduce((sum, segment) => sum + segment.multiplyAdds, 0);
  return { parts: sums, tasks, multiplyAdds };
}

function sumTasks(tasks: readonly (readonly [factor: number, Task])[]): Task[] {
  const sums = new Map<string, Task>();
  for (const [factor, { part, task, gates, work }] of tasks) {
    const key = `${part} ${task}`;
    const before = sums.get(key) ?? { part, task, gates: 0, work: 0 };
    sums.set(key, {
      part,
      task,
      gates: before.gates + factor * gates,
      work: before.work + factor * work,
    });
  }
  return [...sums.values()];
}

/** The numbers of a generation of so many positions, prompt included. */
export function optionsOf(
  config: ModelConfig,
  { next }: Pick<Method, "next">,
  { promptTokens, tokens }: { promptTokens: number; tokens: number },
): GenerationOptions {
  return generationOptions(config, promptTokens, { maxTokens: tokens, next });
}

/** @throws E_PLAN when the recipe has no secure form */
export async function costsOf(
  config: ModelConfig,
  method: Pick<Method, "next">,
  length: number,
): Promise<Costs> {
  const size = { promptTokens: PREFIX, tokens: length - PREFIX };
  const plan = await planGeneration(config, optionsOf(config, method, size));
  const { segments, framing } = predictParts(plan);
  return { ...sumCosts(segments), framing };
}

/**
 * The config of a model of a shape, with the stated numbers of another of the same recipe: those
 * of its last layer in all that it has not. Bounds of a model of that size may differ by some bits.
 */
export function stretched(config: ModelConfig, size: ModelSize, positions: number): ModelConfig {
  const { shape, layers, vocabulary } = size;
  const recipe = config.recipe as Parameters<typeof shapeConfig>[0]["recipe"];
  const target = shapeConfig({ shape, recipe, layers, vocabulary, positions });
  const { layerCount, hiddenSize, headCount, innerSize, vocabSize } = target;
  const { wireBounds, ranges, weightFracBits, activation } = config;
  const end = vocabSize - 1;
  return {
    ...config,
    layerCount,
    hiddenSize,
    headCount,
    innerSize,
    vocabSize,
    positionCount: positions,
    tokens: { pad: end, begin: end, end },
    ...(activation.kind === "mixed" && { activation: target.activation }),
    ...(wireBounds && {
      wireBounds: Array.from({ length: layerCount }, (_, i) => wireBounds[i] ?? wireBounds.at(-1)!),
    }),
    ...(ranges && { ranges: byLayer(ranges, config.layerCount, layerCount) }),
    ...(weightFracBits && {
      weightFracBits: byLayer(weightFracBits, config.layerCount, layerCount),
    }),
  };
}

/** Entries named `layers.N.`, for as many layers as there are to be. */
function byLayer<T>(
  entries: Readonly<Record<string, T>>,
  given: number,
  wanted: number,
): Record<string, T> {
  const out: Record<string, T> = {};
  const last = `layers.${given - 1}.`;
  for (const [name, value] of Object.entries(entries)) {
    const layer = /^layers\.(\d+)\./.exec(name)?.[1];
    if (layer === undefined || Number(layer) < wanted) out[name] = value;
    if (!name.startsWith(last)) continue;
    for (let i = given; i < wanted; i++) out[name.replace(last, `layers.${i}.`)] = value;
  }
  return out;
}

export interface StretchOptions {
  readonly method: Pick<Method, "next">;
  readonly size: ModelSize;
  /** Of the text. */
  readonly length: number;
  /** Of the model. */
  readonly positions: number;
}

/** Few enough tokens to plan in no time. */
const TRIAL_POSITIONS = 8;

/**
 * Costs of a stretched config, from plans of 2 and 4 layers where costs grow evenly with layers, as
 * a trial with few positions says; else from its own plan. The parts' figures are the same either
 * way; headers of frames are counted as if they grew evenly, too.
 */
export async function stretchedCosts(
  config: ModelConfig,
  { method, size, length, positions }: StretchOptions,
): Promise<Costs> {
  const of = (layers: number, until: number) =>
    costsOf(stretched(config, { ...size, layers }, positions), method, until);
  const { layerCount } = stretched(config, size, positions);
  const direct = () => of(layerCount, length);
  if (layerCount <= 4 || layerCount % 2 === 1) return direct();
  const factor = (layerCount - 2) / 2;
  const trial = extended(await of(2, TRIAL_POSITIONS), await of(4, TRIAL_POSITIONS), factor);
  if (!same(trial, await of(layerCount, TRIAL_POSITIONS))) return direct();
  return extended(await of(2, length), await of(4, length), factor);
}

/** a + factor (b - a). */
function extended(a: Costs, b: Costs, factor: number): Costs {
  const mix = (x: number, y: number) => x + factor * (y - x);
  const bytes = (x: PartBytes, y: PartBytes): PartBytes => ({
    onlineBytes: mix(x.onlineBytes, y.onlineBytes),
    roundTrips: mix(x.roundTrips, y.roundTrips),
    offlineBytes: mix(x.offlineBytes, y.offlineBytes),
  });
  return {
    parts: Object.fromEntries(
      parts.map((part) => [part, bytes(a.parts[part], b.parts[part])]),
    ) as Costs["parts"],
    framing: {
      onlineBytes: mix(a.framing.onlineBytes, b.framing.onlineBytes),
      offlineBytes: mix(a.framing.offlineBytes, b.framing.offlineBytes),
    },
    tasks: sumTasks([
      ...a.tasks.map((task) => [1 - factor, task] as const),
      ...b.tasks.map((task) => [factor, task] as const),
    ]),
    multiplyAdds: mix(a.multiplyAdds, b.multiplyAdds),
  };
}

function same(a: Costs, b: Costs): boolean {
  const near = (x: number, y: number) => Math.abs(x - y) < 1e-6 * Math.max(1, Math.abs(y));
  return (
    near(a.multiplyAdds, b.multiplyAdds) &&
    parts.every((part) => {
      const [x, y] = [a.parts[part], b.parts[part]];
      return (
        near(x.onlineBytes, y.onlineBytes) &&
        near(x.offlineBytes, y.offlineBytes) &&
        near(x.roundTrips, y.roundTrips)
      );
    })
  );
}
