// Runs a method's generations against a dealer and a server of their own, and counts what each part
// of the model took. That bytes and round trips are those of the plan is checked each time.

import { cpus } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Channel,
  Client,
  ensure,
  floatBench,
  loadFloatKernels,
  type Model,
  type Part,
  parts,
  planGeneration,
  predictParts,
  type RingKernels,
  type SegmentCost,
  type SegmentProgress,
} from "../../src/index.ts";
import { promptOf } from "../measure.ts";
import type { ProcessReport } from "../profile.ts";
import { median } from "../rows.ts";
import { totalsOf } from "./cells.ts";
import { type Costs, optionsOf, sumCosts } from "./costs.ts";
import { type GateReport, GateTimes, type Moments } from "./gate-times.ts";
import { type Method, PREFIX } from "./methods.ts";
import type { Counted, Mark, Measurement, Run, Spoken } from "./result.ts";
import { StallWatch } from "./stall.ts";

/** A server that counts its gates, and a dealer. */
export interface CountingParties {
  readonly connectServer: () => Promise<Channel>;
  readonly connectDealer: () => Promise<Channel>;
  /** What the server counted since the last reset. */
  report(): Promise<ProcessReport>;
  reset(): Promise<void>;
}

export interface MeasureOptions {
  readonly parties: CountingParties;
  readonly model: Model;
  readonly method: Method;
  readonly kernels: RingKernels;
  /** What a sampled run takes behind its prompt, within the numbers of tokens below. Default 1. */
  readonly sampleSeconds?: number | undefined;
}

export const LEAST_SAMPLE_TOKENS = 5;
const MOST_SAMPLE_TOKENS = 150;
const WARM_UP_TOKENS = 6;
/** Runs of a sample's tokens before the first one counts, until a step takes this of the last. */
const MOST_WARM_UPS = 5;
const WARM = 0.95;
const MOST_ATTEMPTS = 4;
/**
 * Steps behind the prompt that do not count, a quarter of them at most: in the first one the server
 * may still be at the prompt, and the next ones find other data than theirs in all caches.
 */
const SETTLING_STEPS = 4;

export interface RunSize {
  readonly promptTokens: number;
  readonly tokens: number;
}

type Moment = Readonly<Record<string, Moments>>;

/** Runs with a client and gate times of their own. */
export class Runner {
  readonly #options: MeasureOptions;
  readonly #gates = new GateTimes();
  readonly #client: Client;
  readonly #moments: { client: Moment[]; server: Moment[] } = { client: [], server: [] };

  constructor(options: MeasureOptions) {
    this.#options = options;
    this.#client = new Client({ kernels: options.kernels, watch: this.#gates.watch });
  }

  get moments(): Measurement["moments"] {
    const { client, server } = this.#moments;
    return { client: joined(client), server: joined(server) };
  }

  /**
   * Loads code and matrices, compiles what is fast; counts nothing. `thoroughly`: goes on until
   * steps get no faster. Gives a sample's tokens.
   */
  async warmUp({ thoroughly }: { readonly thoroughly: boolean }): Promise<number> {
    const room = this.#options.model.config.positionCount - PREFIX + 1;
    const generate = async (tokens: number) => {
      const seconds: number[] = [];
      const size = { promptTokens: PREFIX, tokens: Math.min(tokens, room) };
      await this.#generate(size, ({ onlineMs }) => void seconds.push(onlineMs / 1000));
      return median(seconds.slice(1).map((second, i) => second - seconds[i]!));
    };
    let step = await generate(WARM_UP_TOKENS);
    const { sampleSeconds = 1 } = this.#options;
    const wanted = Math.round(sampleSeconds / Math.max(step, 1e-9));
    const tokens = Math.min(MOST_SAMPLE_TOKENS, Math.max(LEAST_SAMPLE_TOKENS, wanted));
    if (tokens <= WARM_UP_TOKENS) return tokens;
    for (let runs = 0; runs < MOST_WARM_UPS; runs++) {
      const before = step;
      step = await generate(tokens);
      if (!thoroughly || step > WARM * before) break;
    }
    return tokens;
  }

  /** A run that was held up is taken again, a few times. */
  async run(size: RunSize): Promise<{ run: Run; text: string; tokens: readonly number[] }> {
    for (let attempt = 1; ; attempt++) {
      const watch = new StallWatch();
      const taken = await this.#run(size).finally(() => watch.close());
      const { seconds: stalledSeconds } = watch;
      if (stalledSeconds > 0 && attempt < MOST_ATTEMPTS) continue;
      const { run, text, tokens, atClient, atServer } = taken;
      this.#moments.client.push(atClient.moments);
      this.#moments.server.push(atServer.moments);
      return { run: { ...run, stalledSeconds }, text, tokens };
    }
  }

  async #run(size: RunSize) {
    const { parties, model, method } = this.#options;
    const plan = await planGeneration(model.config, optionsOf(model.config, method, size));
    const { segments, framing } = predictParts(plan);
    await parties.reset();
    this.#gates.reset();
    const progress: SegmentProgress[] = [];
    const generation = await this.#generate(size, (mark) => void progress.push(mark));
    const [atClient, { gates: atServer }] = [this.#gates.report(), await parties.report()];
    ensure(atServer, "E_INTERNAL", "the server did not count its gates");
    const { online, offline } = generation;
    const costs = sumCosts(segments);
    const marks = progress.map(markOf);
    const whole = {
      seconds: online.seconds,
      roundTrips: online.roundTrips,
      onlineBytes: online.clientSentBytes + online.serverSentBytes,
    };
    const offlineBytes =
      offline.dealerToServerBytes + offline.dealerToClientBytes + offline.clientToServerBytes;
    checkCosts({ ...costs, framing }, { ...whole, offlineBytes });
    const sides = [atClient, atServer];
    const begin = settled(marks, plan.options.chunk);
    const before = new Set(marks.slice(0, marks.indexOf(begin) + 1).map(({ segment }) => segment));
    const later = segments.filter(({ id }) => !before.has(id));
    const after = {
      seconds: whole.seconds - begin.seconds,
      roundTrips: whole.roundTrips - begin.roundTrips,
      onlineBytes: whole.onlineBytes - begin.bytes,
    };
    const run = {
      ...size,
      all: counted(segments, sides, whole),
      steps: counted(later, sides, after),
      offline: {
        seconds: offline.seconds,
        bytes: offlineBytes,
        multiplyAdds: costs.multiplyAdds,
      },
      marks,
    };
    const { text, tokens } = generation;
    return { run, text, tokens, atClient, atServer };
  }

  #generate({ promptTokens, tokens }: RunSize, onSegment?: (progress: SegmentProgress) => void) {
    const { parties, method } = this.#options;
    return this.#client.generate({
      connectServer: parties.connectServer,
      connectDealer: parties.connectDealer,
      prompt: promptOf(promptTokens),
      maxTokens: tokens,
      ignoreEnd: true,
      next: method.next,
      ahead: 0,
      ...(onSegment && { onSegment }),
    });
  }
}

/**
 * The mark at which steps begin to count: behind the prompt and one step at least. Where there are
 * enough, what is left are whole chunks: at each end of one, both parties take a bundle.
 */
function settled(marks: readonly Mark[], chunk: number): Mark {
  const prompt = marks.findLastIndex(({ kind }) => kind === "prompt");
  const later = marks.slice(prompt + 1, -1);
  const steps = later.filter(({ kind }) => kind === "step");
  const least = Math.max(1, Math.min(SETTLING_STEPS, Math.floor(steps.length / 4)));
  const chunks = Math.floor((steps.length - least) / chunk);
  const skipped = chunks > 0 ? steps.length - chunks * chunk : least;
  return steps[skipped - 1] ?? later[0] ?? marks[prompt]!;
}

function markOf({ segment, onlineMs, roundTrips, ...bytes }: SegmentProgress): Mark {
  return {
    segment: segment.id,
    kind: segment.kind,
    start: segment.kind === "head" ? segment.states[0] : segment.start,
    seconds: onlineMs / 1000,
    roundTrips,
    bytes: bytes.sentBytes + bytes.receivedBytes,
  };
}

/** @throws E_INTERNAL when the run sent something else than the plan says */
function checkCosts(
  costs: Costs,
  sent: {
    readonly roundTrips: number;
    readonly onlineBytes: number;
    readonly offlineBytes: number;
  },
): void {
  const planned = totalsOf(costs);
  for (const key of ["roundTrips", "onlineBytes", "offlineBytes"] as const) {
    const message = `${key}: ${sent[key]} were counted, ${planned[key]} follow from the plan`;
    ensure(planned[key] === sent[key], "E_INTERNAL", message);
  }
}

function counted(
  segments: readonly SegmentCost[],
  sides: readonly GateReport[],
  whole: Omit<Counted, "compute" | "tasks">,
): Counted {
  const ids = new Set(segments.map(({ id }) => id));
  const compute = Object.fromEntries(parts.map((part) => [part, 0])) as Record<Part, number>;
  for (const { segment, part, seconds } of sides.flatMap(({ times }) => times)) {
    if (ids.has(segment)) compute[part] += seconds;
  }
  return { ...whole, compute, tasks: sumCosts(segments).tasks };
}

function joined(each: readonly Moment[]): Record<string, Moments> {
  const out: Record<string, Moments> = {};
  for (const [task, { n, w, s, ww, ws }] of each.flatMap((moments) => Object.entries(moments))) {
    const a = out[task] ?? { n: 0, w: 0, s: 0, ww: 0, ws: 0 };
    out[task] = { n: a.n + n, w: a.w + w, s: a.s + s, ww: a.ww + ww, ws: a.ws + ws };
  }
  return out;
}

/** The same model's text in the clear, in float32. */
export async function spokenBeside(
  { model, method }: Pick<MeasureOptions, "model" | "method">,
  { promptTokens, tokens: maxTokens }: RunSize,
  secure: { readonly text: string; readonly tokens: readonly number[] },
): Promise<Spoken> {
  const bench = floatBench(model, await loadFloatKernels());
  const { text, tokens } = await bench({
    prompt: promptOf(promptTokens),
    maxTokens,
    ignoreEnd: true,
    next: method.next,
  });
  return { ...secure, floatText: text, floatTokens: tokens };
}

const LOOK_MS = 200;

/** Cores that were busy while this process waited. */
export async function busyCores(): Promise<number> {
  const before = cpuTimes();
  await delay(LOOK_MS);
  const after = cpuTimes();
  const [idle, all] = [after.idle - before.idle, after.all - before.all];
  return all > 0 ? cpus().length * (1 - idle / all) : 0;
}

function cpuTimes(): { idle: number; all: number } {
  let [idle, all] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    all += Object.values(times).reduce((sum, time) => sum + time, 0);
  }
  return { idle, all };
}

/** Cores of others from which on the machine is called busy. */
export const BUSY_CORES = 0.3;
