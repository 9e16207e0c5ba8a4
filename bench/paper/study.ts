// The study: which methods run on which networks, what is measured of them, and which cells follow.
// What has been measured is kept after each measurement, so that a study goes on where it ended.

import {
  MergenError,
  type Model,
  type ModelConfig,
  planGeneration,
  predictParts,
  type RingKernels,
} from "../../src/index.ts";
import { thisMachine } from "../machine.ts";
import {
  agreementOf,
  type CellPlace,
  modelledCell,
  runCell,
  sampledCell,
  withoutForm,
} from "./cells.ts";
import { type Costs, costsOf, optionsOf, sumCosts } from "./costs.ts";
import {
  BUSY_CORES,
  busyCores,
  type CountingParties,
  LEAST_SAMPLE_TOKENS,
  Runner,
  type RunSize,
  spokenBeside,
} from "./measure.ts";
import { BASELINE, type Method, methodOf, PREFIX } from "./methods.ts";
import { Planner } from "./planner.ts";
import { ratesOf, unknownTasks } from "./rates.ts";
import {
  type Agreement,
  type Cell,
  type Measurement,
  type ModelSize,
  type NetworkName,
  PAPER_FORMAT,
  type PaperResult,
  type Rates,
  type Run,
  type Settings,
  sizeName,
} from "./result.ts";

/** What the study needs of its surroundings. */
export interface PaperContext {
  readonly kernels: RingKernels;
  readonly kernelsName: string;
  /** A model with random weights, the same ones for all methods of one kind of module. */
  model(wanted: {
    readonly method: Method;
    readonly size: ModelSize;
    readonly positions: number;
  }): Promise<{ readonly folder: string; readonly model: Model }>;
  /** A dealer and a server of that model, behind that network; good until others are asked for. */
  parties(folder: string, network: NetworkName): Promise<CountingParties>;
  note(text: string): void;
  progress(done: number, total: number): void;
  save(result: PaperResult): Promise<void>;
}

export interface StudyOptions {
  readonly settings: Settings;
  readonly context: PaperContext;
  /** Where an earlier run ended. */
  readonly previous?: PaperResult | undefined;
  /** Nothing is measured after this time; what is left is modelled. */
  readonly until?: Date | undefined;
  /** In the place of rates that are measured here. */
  readonly rates?: { readonly rates: Rates; readonly from: string } | undefined;
  readonly remark?: string | undefined;
}

/** Layers and words of the models that a quick study runs. */
const CUT_LAYERS = 2;
const CUT_WORDS = 2048;
/** Positions of a quick study's runs, and how many lengths it samples. */
export const QUICK_POSITIONS = 16;
const QUICK_SAMPLES = 3;
/** Of its runs that samples are held to: long enough to tell time from noise. */
const CHECK_POSITIONS = 256;
/** Of those runs, and of the whole study's: with two cores a step's time has two modes. */
const REPEATS: Readonly<Record<NetworkName, number>> = { loopback: 5, lan: 2, wan: 1 };
/** What a sample takes in a whole study, beside whose runs everything else is short. */
const WHOLE_SAMPLE_SECONDS = 3;
/** Where everything takes minutes. */
const SLOW: NetworkName = "wan";
/** Of a model that says whether a method has a secure form. */
const TRIAL: ModelSize = { shape: "tiny" };
const TRIAL_POSITIONS = 8;
/** The length of the paper's tables. */
const TABLE_LENGTH = 128;

/** A shape as a quick study runs it: cut down, or itself where it is small. */
export function cutDown(shape: string): ModelSize {
  if (shape === "tiny" || shape === "e2e") return { shape };
  return { shape, layers: CUT_LAYERS, vocabulary: CUT_WORDS };
}

/** The length at which sizes are compared. */
export function tableLength({ lengths }: Pick<Settings, "lengths">): number {
  return lengths.includes(TABLE_LENGTH) ? TABLE_LENGTH : lengths[0]!;
}

interface Job {
  readonly method: Method;
  readonly model: ModelSize;
  readonly network: NetworkName;
  readonly kind: Measurement["kind"];
  readonly length: number;
  /** Of the model. */
  readonly positions: number;
  readonly samples: number;
  /** Runs of each size. */
  readonly repeats: number;
  /** A run in full, and its samples, are taken in turns: a process gets faster as it goes. */
  readonly inTurns?: boolean;
}

const idOf = ({ method, model, network, kind, length }: Job): string =>
  [method.name, sizeName(model), network, kind, length].join("/");

const areInTurns = (a: Job, b: Job) =>
  a.inTurns === true &&
  b.inTurns === true &&
  [a.method.name, sizeName(a.model), a.network].join() ===
    [b.method.name, sizeName(b.model), b.network].join();

/** Runs what has not been run, and makes all cells. */
export async function runStudy(options: StudyOptions): Promise<PaperResult> {
  return new Study(options).run();
}

class Study {
  readonly #options: StudyOptions;
  readonly #settings: Settings;
  readonly #context: PaperContext;
  /** Why methods have no secure form. */
  readonly #refused = new Map<string, string>();
  readonly #measurements: Measurement[];
  readonly #startedAt: string;
  readonly #machine = thisMachine();
  readonly #planner = new Planner();
  readonly #costs = new Map<string, Promise<Costs>>();
  readonly #configs = new Map<string, Promise<ModelConfig>>();

  constructor(options: StudyOptions) {
    this.#options = options;
    this.#settings = options.settings;
    this.#context = options.context;
    this.#measurements = [...(options.previous?.measurements ?? [])];
    this.#startedAt = options.previous?.startedAt ?? new Date().toISOString();
  }

  async run(): Promise<PaperResult> {
    try {
      return await this.#run();
    } finally {
      await this.#planner.close();
    }
  }

  async #run(): Promise<PaperResult> {
    const { context } = this.#options;
    await this.#tryForms();
    const jobs = this.#jobs();
    const known = new Set(this.#measurements.map(({ id }) => id));
    let left = jobs.filter((job) => !known.has(idOf(job)));
    const progress = () => context.progress(jobs.length - left.length, jobs.length);
    if (left.length < jobs.length) {
      context.note(`${jobs.length - left.length} of ${jobs.length} measurements are there`);
    }
    progress();
    while (left.length > 0 && !this.#isOver) {
      const now = left.filter((job) => job === left[0] || areInTurns(job, left[0]!));
      await this.#take(now);
      left = left.filter((job) => !now.includes(job) && !this.#refused.has(job.method.name));
      await context.save(this.#result({ finished: false }));
      progress();
    }
    if (left.length > 0) context.note(`time is over: ${left.length} measurements are left`);
    const rates = this.#options.rates?.rates ?? ratesOf(this.#measurements);
    const cells = await this.#cells(rates);
    const agreements = await this.#agreements();
    const result = this.#result({ finished: left.length === 0, cells, agreements, rates });
    await context.save(result);
    return result;
  }

  get #isOver(): boolean {
    const { until } = this.#options;
    return until !== undefined && Date.now() > until.getTime();
  }

  #result({
    finished,
    cells = [],
    agreements = [],
    rates,
  }: {
    readonly finished: boolean;
    readonly cells?: readonly Cell[];
    readonly agreements?: readonly Agreement[];
    readonly rates?: Rates;
  }): PaperResult {
    const { remark, rates: given, context } = this.#options;
    return {
      format: PAPER_FORMAT,
      machine: this.#machine,
      kernels: context.kernelsName,
      settings: this.#settings,
      ...(remark !== undefined && { remark }),
      startedAt: this.#startedAt,
      busy: this.#measurements.some((each) => each.busyCores > BUSY_CORES),
      finished,
      measurements: this.#measurements,
      rates,
      ...(given && { ratesFrom: given.from }),
      cells,
      agreements,
    };
  }

  get #methods(): Method[] {
    return this.#settings.methods.map(methodOf);
  }

  // ---- what has a secure form ------------------------------------------------------------------

  async #tryForms(): Promise<void> {
    for (const method of this.#methods) await this.#tryForm(method, TRIAL, TRIAL_POSITIONS);
  }

  /** Plans a small generation of it. */
  async #tryForm(method: Method, size: ModelSize, positions: number): Promise<void> {
    try {
      const config = await this.#configOf(method, size, positions);
      await costsOf(config, method, Math.min(positions, TRIAL_POSITIONS));
    } catch (error) {
      this.#refuse(method, error);
    }
  }

  /** @throws whatever it is, unless it says that there is no such plan */
  #refuse({ name, title }: Method, error: unknown): void {
    const planned = error instanceof MergenError && ["E_PLAN", "E_CONFIG"].includes(error.code);
    if (!planned) throw error;
    this.#context.note(`${title}: no secure form yet: ${error.message}`);
    this.#refused.set(name, error.message);
  }

  #configOf(method: Method, size: ModelSize, positions: number): Promise<ModelConfig> {
    const key = `${method.name} ${sizeName(size)} ${positions}`;
    const known = this.#configs.get(key);
    if (known) return known;
    const made = this.#context.model({ method, size, positions }).then(({ model }) => model.config);
    this.#configs.set(key, made);
    return made;
  }

  // ---- measurements ----------------------------------------------------------------------------

  /** Length and size of what a quick study runs, and of what rates are measured on. */
  get #small() {
    const { lengths, shapes } = this.#settings;
    const length = Math.min(QUICK_POSITIONS, ...lengths);
    const positions = Math.max(QUICK_POSITIONS, length);
    return { model: cutDown(shapes[0]!), length, positions };
  }

  /** A quick study's run that samples are held to. */
  #checked(network: NetworkName): Pick<Job, "length" | "positions" | "repeats"> {
    const { length, positions } = this.#small;
    const repeats = REPEATS[network];
    if (network === SLOW) return { length, positions, repeats };
    const longer = Math.max(length, Math.min(CHECK_POSITIONS, ...this.#settings.lengths.slice(-1)));
    return { length: longer, positions: Math.max(positions, longer), repeats };
  }

  #jobs(): Job[] {
    const { quick, modelOnly, networks, shapes, full } = this.#settings;
    const fitting = this.#methods.filter(({ name }) => !this.#refused.has(name));
    if (modelOnly) return this.#rateJobs();
    // Parties stay for all jobs of a model over the fast networks; the slow one comes last, so that
    // whoever stops in between has the others' tables whole.
    const groups = [
      networks.filter((name) => name !== SLOW),
      networks.filter((name) => name === SLOW),
    ];
    const models: ModelSize[] = quick ? [this.#small.model] : shapes.map((shape) => ({ shape }));
    const checkedFirst = [
      ...fitting.filter(({ name }) => name === full),
      ...fitting.filter(({ name }) => name !== full),
    ];
    const rows = models.flatMap((model) =>
      groups.flatMap((over) => checkedFirst.map((method) => ({ method, model, over }))),
    );
    return rows.flatMap(({ over, ...row }) =>
      quick ? this.#quickJobs(row, over) : this.#wholeJobs(row, over),
    );
  }

  /** All methods' short runs, but on the slow network; and the checked one's. */
  #quickJobs(row: Pick<Job, "method" | "model">, over: readonly NetworkName[]): Job[] {
    const { full, samples } = this.#settings;
    const isChecked = row.method.name === full;
    const { length, positions } = this.#small;
    const common = { ...row, samples: Math.min(samples, QUICK_SAMPLES) };
    const jobs = over
      .filter((network) => isChecked || network !== SLOW)
      .map((network): Job => ({ ...common, network, length, positions, repeats: 1, kind: "full" }));
    if (!isChecked) return jobs;
    for (const network of over) {
      const checked = { ...common, ...this.#checked(network), network, inTurns: true };
      if (checked.length !== length) jobs.push({ ...checked, kind: "full" });
      jobs.push({ ...checked, kind: "sample" });
    }
    return jobs;
  }

  /** Samples; and the checked method's run. */
  #wholeJobs(row: Pick<Job, "method" | "model">, over: readonly NetworkName[]): Job[] {
    const { full, samples, shapes, lengths } = this.#settings;
    const positions = Math.max(...lengths);
    const isBase = row.model.shape === shapes[0];
    const usual = tableLength(this.#settings);
    return over.flatMap((network): Job[] => {
      const common = { ...row, network, samples, positions };
      const length = isBase ? positions : usual;
      const sample = { ...common, kind: "sample", length } as const;
      if (!isBase || row.method.name !== full) return [{ ...sample, repeats: 1 }];
      const checked = { inTurns: true, repeats: REPEATS[network] };
      return [
        { ...sample, ...checked },
        { ...common, ...checked, kind: "full", length: usual },
      ];
    });
  }

  /** Both kinds of modules have all kinds of gates between them. */
  #rateJobs(): Job[] {
    if (this.#options.rates) return [];
    return [BASELINE, "merge"].map((name) => ({
      ...{ ...this.#small, samples: QUICK_SAMPLES, method: methodOf(name) },
      ...{ network: "loopback", kind: "sample", repeats: 1 },
    }));
  }

  /** Takes jobs of one method, model and network, their repetitions in turns. */
  async #take(jobs: readonly Job[]): Promise<void> {
    const { context } = this.#options;
    const { method, model: size, network, positions, repeats } = jobs[0]!;
    const kinds = jobs.map(({ kind }) => kind).join(" and ");
    context.note(`${method.title}, ${sizeName(size)}, ${network}, ${kinds}`);
    try {
      const { folder, model } = await context.model({ method, size, positions });
      const busy = await busyCores();
      const parties = await context.parties(folder, network);
      const sampleSeconds = this.#settings.quick ? undefined : WHOLE_SAMPLE_SECONDS;
      const { kernels } = context;
      const given = { parties, model, method, kernels, sampleSeconds };
      const turns: Turns[] = [];
      for (const job of jobs) {
        const runner = new Runner(given);
        const wanted = await runner.warmUp({ thoroughly: repeats > 1 });
        const sizes = await this.#runSizes(job, model.config, wanted);
        turns.push({ job, sizes, runner, runs: [], said: undefined });
      }
      for (let i = 0; i < repeats; i++) for (const each of turns) await takeTurn(each);
      for (const each of turns) {
        const measurement = await this.#measured(each, model);
        this.#measurements.push({ ...measurement, ...{ positions, busyCores: busy } });
      }
    } catch (error) {
      this.#refuse(method, error);
    }
  }

  async #measured(
    { job, runner, runs, said }: Turns,
    model: Model,
  ): Promise<Omit<Measurement, "positions" | "busyCores">> {
    const { method, model: size, network, kind, length } = job;
    const isSpoken = kind === "full" && network === "loopback";
    const spoken = isSpoken ? await spokenBeside({ model, method }, runs[0]!, said!) : undefined;
    if (spoken) this.#noteSpoken(method, spoken);
    return {
      id: idOf(job),
      method: method.name,
      model: size,
      ...{ network, kind, length, runs },
      moments: runner.moments,
      ...(spoken && { spoken }),
    };
  }

  #noteSpoken(method: Method, { tokens, floatTokens }: NonNullable<Measurement["spoken"]>): void {
    const short = (ids: readonly number[]) => ids.slice(0, 8).join(" ");
    const same = tokens.filter((token, i) => token === floatTokens[i]).length;
    this.#context.note(
      `  ${method.title}: tokens ${short(tokens)}; in the clear ${short(floatTokens)}; ` +
        `${same} of ${tokens.length} alike`,
    );
  }

  /** The whole text; or some tokens behind evenly spaced prompts, as long as their bytes allow. */
  async #runSizes(
    { kind, method, length, positions, samples }: Job,
    config: ModelConfig,
    wanted: number,
  ): Promise<RunSize[]> {
    if (kind === "full") return [{ promptTokens: PREFIX, tokens: length - PREFIX }];
    const tokens = Math.max(LEAST_SAMPLE_TOKENS, Math.min(wanted, Math.floor(length / 2)));
    // The model keeps room for its usual texts.
    const longest = config.positionCount - config.generation.maxTokens + 1;
    let most = Math.max(PREFIX, Math.min(length - tokens, longest));
    const { sampleBytes } = this.#settings;
    while (most > PREFIX && (await promptBytes(config, method, most)) > sampleBytes) {
      most = Math.max(PREFIX, Math.floor(0.75 * most));
    }
    const step = (most - PREFIX) / Math.max(1, samples - 1);
    const prompts = Array.from({ length: samples }, (_, i) => Math.round(PREFIX + i * step));
    return [...new Set(prompts)].map((promptTokens) => ({
      promptTokens,
      tokens: Math.min(tokens, positions - promptTokens + 1),
    }));
  }

  // ---- cells -----------------------------------------------------------------------------------

  #found(kind: Measurement["kind"], place: CellPlace): Measurement | undefined {
    return this.#measurements.find(
      (each) =>
        each.kind === kind &&
        each.method === place.method &&
        each.network === place.network &&
        sizeName(each.model) === sizeName(place.model) &&
        (kind === "sample" || each.length === place.length),
    );
  }

  async #cells(rates: Rates): Promise<Cell[]> {
    const { quick, modelOnly, networks, shapes, lengths } = this.#settings;
    const places: CellPlace[] = [];
    const add = (model: ModelSize, length: number) => {
      for (const network of networks) {
        for (const { name } of this.#methods) places.push({ method: name, model, length, network });
      }
    };
    const small = this.#small;
    const whole = (shape: string): ModelSize => ({ shape });
    if (quick && !modelOnly) add(small.model, small.length);
    for (const shape of shapes) {
      for (const length of shape === shapes[0] ? lengths : [tableLength(this.#settings)]) {
        const listed = quick && sizeName(small.model) === shape && small.length === length;
        if (!listed) add(whole(shape), length);
      }
    }
    for (const place of places) void this.#costsOf(place).catch(() => {}); // all at once
    const cells: Cell[] = [];
    for (const place of places) cells.push(await this.#cell(place, rates));
    return cells;
  }

  async #cell(place: CellPlace, rates: Rates): Promise<Cell> {
    const refused = this.#refused.get(place.method);
    if (refused !== undefined) return withoutForm(place, refused);
    try {
      const costs = await this.#costsOf(place);
      const full = this.#found("full", place);
      if (full) return runCell(place, costs, full);
      const measurement = this.#found("sample", place);
      if (measurement) return sampledCell(place, costs, { measurement, rates });
      const unknown = unknownTasks(rates, costs.tasks);
      const cell = modelledCell(place, costs, rates);
      if (unknown.length === 0) return cell;
      return {
        ...cell,
        reason: `no rate is known of ${unknown.join(", ")}: they count as nothing`,
      };
    } catch (error) {
      this.#refuse(methodOf(place.method), error);
      return withoutForm(place, this.#refused.get(place.method)!);
    }
  }

  /** Exact for models that are there; else with the stated numbers of another that is. */
  async #costsOf({ method: name, model, length }: CellPlace): Promise<Costs> {
    const method = methodOf(name);
    const { lengths, shapes, quick, modelOnly } = this.#settings;
    const size = sizeName(model);
    const isOf = (each: Measurement) => each.method === name && sizeName(each.model) === size;
    const measured = this.#measurements.find((each) => isOf(each) && each.positions >= length);
    const all = Math.max(...lengths);
    const cut = quick || modelOnly ? this.#small : { model: { shape: shapes[0]! }, positions: all };
    const base = measured ?? cut;
    const config = await this.#configOf(method, base.model, base.positions);
    const isThere = sizeName(base.model) === size && length <= base.positions;
    const stretched = isThere ? undefined : { size: model, positions: all };
    return this.#once(config, `${size} ${length}`, () =>
      this.#planner.costs({
        config,
        method: { next: method.next },
        length,
        ...(stretched && { stretched }),
      }),
    );
  }

  /** The same costs for all networks, and for methods that differ in name alone. */
  #once(config: ModelConfig, key: string, make: () => Promise<Costs>): Promise<Costs> {
    const { recipe: _name, ...rest } = config;
    const whole = `${key} ${JSON.stringify(rest)}`;
    const known = this.#costs.get(whole);
    if (known) return known;
    const made = make();
    this.#costs.set(whole, made);
    return made;
  }

  async #agreements(): Promise<Agreement[]> {
    const { full: method, networks, quick } = this.#settings;
    const found: Agreement[] = [];
    for (const network of networks) {
      for (const full of this.#measurements) {
        if (full.kind !== "full" || full.method !== method || full.network !== network) continue;
        const place = { method, model: full.model, length: full.length, network };
        const sample = this.#found("sample", place);
        const isMeant = sample && (!quick || sample.length === full.length);
        if (!isMeant) continue;
        found.push(agreementOf(place, await this.#costsOf(place), { full, sample }));
      }
    }
    return found;
  }
}

/** A job's runs so far. */
interface Turns {
  readonly job: Job;
  readonly sizes: readonly RunSize[];
  readonly runner: Runner;
  readonly runs: Run[];
  said: { readonly text: string; readonly tokens: readonly number[] } | undefined;
}

/** Once each size. */
async function takeTurn(turns: Turns): Promise<void> {
  for (const size of turns.sizes) {
    const { run, ...said } = await turns.runner.run(size);
    turns.runs.push(run);
    turns.said = said;
  }
}

async function promptBytes(
  config: ModelConfig,
  method: Method,
  promptTokens: number,
): Promise<number> {
  const plan = await planGeneration(config, optionsOf(config, method, { promptTokens, tokens: 2 }));
  const { segments } = predictParts(plan);
  const { parts: of } = sumCosts(segments);
  return Object.values(of).reduce((sum, { offlineBytes }) => sum + offlineBytes, 0);
}
