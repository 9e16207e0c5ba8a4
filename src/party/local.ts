// One-process test benches: the float and the fixed interpreter, and all three parties over memory.
// What runs here shows what a model does and costs; it protects nobody.

import { schedule } from "../generate/schedule.ts";
import type { FloatKernels } from "../kernel/float-kernels.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import type { ModelConfig } from "../model/config.ts";
import { encodePrompt } from "../model/prompt.ts";
import type { Weights } from "../model/safetensors.ts";
import type { Tokenizer } from "../model/tokenizer.ts";
import { MaskTensors } from "../plan/masks.ts";
import { ServerTensors } from "../plan/tensors.ts";
import { Prg } from "../ring/prg.ts";
import { Ring } from "../ring/ring.ts";
import { type FixedStates, runFixed } from "../run/fixed.ts";
import type { FloatProgram } from "../run/float.ts";
import { Channel } from "../wire/channel.ts";
import { memoryPair } from "../wire/memory.ts";
import { Client } from "./client.ts";
import { Dealer } from "./dealer.ts";
import { FloatDecoder } from "./float-decoder.ts";
import { Picker, type PickerOptions, privateIds } from "./picker.ts";
import { type AskedOptions, ensurePositions, generationOptions, IDS, PlanCache } from "./plan.ts";
import type { Generation, Mode } from "./report.ts";
import { bundleLabels, insecureSeeds, WEIGHTS_LABEL } from "./seeds.ts";
import { Server } from "./server.ts";

export interface LocalModel {
  readonly config: ModelConfig;
  readonly weights: Weights;
  readonly tokenizer: Tokenizer;
}

export interface LocalOptions extends PickerOptions {
  readonly prompt: string;
  readonly maxTokens?: number | undefined;
  readonly chunk?: number | undefined;
  readonly anchor?: number | undefined;
  readonly next?: AskedOptions["next"];
  readonly reveal?: AskedOptions["reveal"];
}

/** Generates one text after another with one model in one mode. */
export type LocalBench = (options: LocalOptions) => Promise<Generation>;

/** What a mode reports that sends nothing. */
function localReport(picker: Picker, prompt: string, mode: Mode, seconds: number): Generation {
  return {
    input: prompt,
    text: picker.finish(),
    tokens: picker.tokens,
    mode,
    stopped: picker.ended ? "end" : "length",
    online: { seconds, roundTrips: 0, clientSentBytes: 0, serverSentBytes: 0 },
    offline: {
      seconds: 0,
      dealerToServerBytes: 0,
      dealerToClientBytes: 0,
      clientToServerBytes: 0,
      serverToDealerBytes: 0,
    },
  };
}

/**
 * Float32 in the clear, with caches: the reference. `observe` sees each segment's program after it
 * has run.
 */
export function floatBench(
  model: LocalModel,
  kernels: FloatKernels,
  observe?: (program: FloatProgram) => void,
): LocalBench {
  const { config, weights, tokenizer } = model;
  const decoder = new FloatDecoder(config, weights, kernels);
  return async (options) => {
    const started = performance.now();
    const prompt = encodePrompt(options.prompt, config, tokenizer, options);
    const generation = generationOptions(config, prompt.length, options);
    ensurePositions(config, generation);
    const picker = new Picker(config, tokenizer, options);
    decoder.begin();
    for (const segment of schedule(generation)) {
      if (picker.ended) break;
      const logits = decoder.run(segment, privateIds(segment, prompt, picker.tokens));
      observe?.(decoder.program);
      if (logits) picker.pick(logits);
    }
    return localReport(picker, options.prompt, "float", (performance.now() - started) / 1000);
  };
}

/** Ring arithmetic in the clear, with the dither that the secure bench of this seed has. */
export function fixedBench(model: LocalModel, kernels: RingKernels, seed: number): LocalBench {
  const { config, weights, tokenizer } = model;
  const seeds = insecureSeeds(seed);
  const plans = new PlanCache();
  const ring = new Ring(kernels);
  let shared: Promise<{ tensors: ServerTensors; masks: MaskTensors }>;
  let generation = 0;
  const prepare = async () => {
    const tensors = await plans.tensors(config);
    return {
      tensors: new ServerTensors({ kernels, weights, numbers: config, tensors }),
      masks: new MaskTensors(kernels, tensors, await seeds(WEIGHTS_LABEL)),
    };
  };
  return async (options) => {
    const started = performance.now();
    const prompt = encodePrompt(options.prompt, config, tokenizer, options);
    const plan = await plans.get(config, generationOptions(config, prompt.length, options));
    const { tensors, masks } = await (shared ??= prepare());
    const picker = new Picker(config, tokenizer, options);
    const states: FixedStates = new Map();
    const label = `generation/${generation++}`;
    for (const [index, segments] of plan.bundles.entries()) {
      const labels = bundleLabels(label, index);
      const parties = {
        client: new Prg(kernels, await seeds(labels.client)),
        server: new Prg(kernels, await seeds(labels.server)),
        weightMasks: masks,
      };
      for (const planned of segments) {
        if (picker.ended) break;
        const ids = privateIds(planned.segment, prompt, picker.tokens);
        const given = new Map(ids ? [[IDS, ids]] : []);
        const revealed = new Map<string, Int32Array>();
        const run = { ring, segment: planned, states, tensors, parties, ids: given, revealed };
        picker.takeShown(plan, { logits: runFixed(run), revealed });
      }
    }
    return localReport(picker, options.prompt, "fixed", (performance.now() - started) / 1000);
  };
}

/** Client, server and dealer in one process over memory: insecure by construction. */
export async function insecureSecureBench(
  model: LocalModel,
  kernels: RingKernels,
  seed: number,
  floatKernels?: FloatKernels,
): Promise<LocalBench> {
  const seeds = insecureSeeds(seed);
  const { config, weights, tokenizer } = model;
  const dealer = new Dealer({ kernels, seeds });
  const failures: unknown[] = [];
  const open = (service: { serve(channel: Channel): Promise<void> }) => async () => {
    const [near, far] = memoryPair();
    service.serve(new Channel(far)).catch((error) => failures.push(error));
    return new Channel(near);
  };
  const server = await Server.create({
    kernels,
    floatKernels,
    config,
    weights,
    tokenizer: new TextEncoder().encode(JSON.stringify(tokenizer.files.tokenizer)),
    connectDealer: open(dealer),
    seeds,
  });
  await server.register();
  const client = new Client({ kernels });
  return async (options) => {
    const defined = Object.entries(options).filter(([, value]) => value !== undefined);
    return client.generate({
      ...(Object.fromEntries(defined) as typeof options & { maxTokens: number }),
      connectServer: open(server),
      connectDealer: open(dealer),
    } as Parameters<Client["generate"]>[0]);
  };
}
