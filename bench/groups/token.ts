// What does one private token cost, end to end, and where does its time go? Dealer, server and
// client are processes of their own; the same in the clear is another.

import { networks } from "../../src/index.ts";
import type { BenchContext, Group } from "../context.ts";
import {
  type GenerationSize,
  measurePlain,
  measurePrivate,
  type PrivateMeasurement,
} from "../measure.ts";
import { type Times, WAITING } from "../profile.ts";
import { makeRow, type Reference, type Row, type RowOptions } from "../rows.ts";

/** Unless another is asked for. */
export const SHAPE = "gpt2";
const PROMPT_TOKENS = 4;

function sizeOf({ quick }: BenchContext): GenerationSize {
  return { promptTokens: PROMPT_TOKENS, tokens: quick ? 17 : 65, warmUpTokens: quick ? 4 : 16 };
}

const ms = (options: Omit<RowOptions, "unit" | "better">): Row =>
  makeRow({ ...options, unit: "ms", better: "less" });

const exact = (name: string, unit: string, value: number): Row =>
  makeRow({ name, unit, better: "less", samples: [value] });

const inMs = (seconds: readonly number[]) => seconds.map((each) => 1000 * each);

/** What runs of one kind are held against: a token in the clear. */
type Plain = Awaited<ReturnType<typeof measurePlain>>;

const plainToken = ({ timing }: Plain): Reference => ({
  name: "in the clear",
  value: 1000 * timing.secondsPerToken,
});

/** Time, bytes and round trips of each run's tokens. `runs` differ in nothing. */
export function tokenRows(title: string, runs: readonly PrivateMeasurement[], plain: Plain): Row[] {
  const steps = runs.map(({ step }) => step);
  const [{ perToken, tokens }] = steps as [PrivateMeasurement["step"]];
  const reference = plainToken(plain);
  const online = inMs(steps.flatMap(({ stepSeconds }) => stepSeconds));
  const prompts = inMs(steps.map(({ prompt }) => prompt.onlineSeconds));
  const offline = inMs(steps.map((step) => step.perToken.offlineSeconds));
  const whole = steps.map(
    (step) => 1000 * (step.totalSeconds / tokens.length + step.perToken.offlineSeconds),
  );
  return [
    ms({ name: `${title}: online, a token`, samples: online, reference }),
    ms({ name: `${title}: offline, a token`, samples: offline, reference }),
    ms({ name: `${title}: all, a token, with the prompt's share`, samples: whole, reference }),
    ms({
      name: `${title}: prompt of ${PROMPT_TOKENS}, online`,
      samples: prompts,
      reference: { name: "in the clear", value: 1000 * plain.timing.promptSeconds },
    }),
    ms({ name: `${title}: in the clear, a token`, samples: inMs(plain.timing.seconds) }),
    exact(`${title}: online bytes, a token`, "kB", perToken.onlineBytes / 1e3),
    exact(`${title}: offline bytes, a token`, "kB", perToken.offlineBytes / 1e3),
    exact(`${title}: round trips, a token`, "1", perToken.roundTrips),
  ];
}

export function memoryRows(title: string, run: PrivateMeasurement, plain: Plain): Row[] {
  const reference = { name: "in the clear", value: plain.process.maxRssBytes / 1e6 };
  const row = (who: string, bytes: number, against?: Reference) =>
    makeRow({
      name: `${title}: most memory, ${who}`,
      unit: "MB",
      better: "less",
      samples: [bytes / 1e6],
      reference: against,
    });
  return [
    row("in the clear", plain.process.maxRssBytes),
    row("server", run.server.maxRssBytes, reference),
    row("client", run.client.maxRssBytes, reference),
    row("dealer", run.dealer.maxRssBytes, reference),
  ];
}

async function runOver(context: BenchContext, network: keyof typeof networks): Promise<Row[]> {
  const { shape = SHAPE } = context;
  const folder = await context.modelFolder({ shape });
  const size = sizeOf(context);
  const repeats = context.quick || network !== "loopback" ? 1 : 3;
  const few = network === "wan" ? { ...size, tokens: 9, warmUpTokens: 0 } : size;
  const plain = await measurePlain(folder, size);
  return context.withParties(folder, { network }, async (parties) => {
    const runs: PrivateMeasurement[] = [];
    for (let i = 0; i < repeats; i++) runs.push(await measurePrivate(parties, few));
    const title = network === "loopback" ? shape : `${shape}, ${network}`;
    const rows = tokenRows(title, runs, plain);
    if (network === "loopback") return [...rows, ...memoryRows(title, runs.at(-1)!, plain)];
    const { delayMs, bitsPerSecond } = networks[network];
    // What the line alone takes for a token's bytes and round trips.
    const { perToken } = runs[0]!.step;
    const floor = 2 * delayMs * perToken.roundTrips + (8000 * perToken.onlineBytes) / bitsPerSecond;
    const samples = inMs(runs.flatMap(({ step }) => step.stepSeconds));
    const reference = { name: "delay and rate alone", value: floor };
    return [...rows, ms({ name: `${title}: online, a token, of the line`, samples, reference })];
  });
}

export const token: Group = {
  name: "token",
  question: "one private token end to end, held against the same model in the clear",
  async run(context) {
    const names = context.quick
      ? (["loopback", "lan"] as const)
      : (["loopback", "lan", "wan"] as const);
    const rows: Row[] = [];
    for (const network of names) rows.push(...(await runOver(context, network)));
    return rows;
  },
};

const sum = (times: Times) => Object.values(times).reduce((total, each) => total + each, 0);

/** Rows of what one side's time went to, largest first; `each` scales a run's time to a token's. */
function shares(
  side: string,
  runs: readonly Times[],
  { each, whole }: { each: number; whole: Reference },
): Row[] {
  const labels = [...new Set(runs.flatMap((times) => Object.keys(times)))];
  const rows = labels.map((label) =>
    ms({
      name: `${side}: ${label}`,
      samples: runs.map((times) => (times[label] ?? 0) * each),
      reference: whole,
    }),
  );
  return rows.sort((a, b) => b.median - a.median);
}

/** Measured parts of a side's time, and the rest: gates, scheduling and messages in JavaScript. */
function withRest(times: Times, wholeMs: number): Times {
  return { ...times, "all else (gates, schedule, messages)": wholeMs - sum(times) };
}

async function runFlame(context: BenchContext): Promise<Row[]> {
  const { shape = SHAPE } = context;
  const folder = await context.modelFolder({ shape });
  const size = { ...sizeOf(context), profile: true };
  return context.withParties(folder, { profile: true }, async (parties) => {
    const runs: PrivateMeasurement[] = [];
    for (let i = 0; i < (context.quick ? 3 : 5); i++) {
      runs.push(await measurePrivate(parties, size));
    }
    const each = 1 / size.tokens;
    const totals = runs.map(({ step }) => 1000 * step.totalSeconds);
    const online = ms({
      name: `${shape}: online, a token, mean with the prompt of ${PROMPT_TOKENS}, counted`,
      samples: totals.map((total) => total * each),
    });
    const whole = { name: "online, a token", value: online.median };
    const client = runs.map((run, i) => withRest(run.client.times!, totals[i]!));
    const server = runs.map((run, i) => withRest(run.server.times!, totals[i]!));
    // What neither computes while the client waits; less where the server works beside it.
    const way = runs.map((_, i) => {
      const serverBusy = totals[i]! - (server[i]![WAITING] ?? 0);
      return ((client[i]![WAITING] ?? 0) - serverBusy) * each;
    });
    const transport = ms({
      name: "client's wait less the server's work: sockets, waking up",
      samples: way,
      reference: whole,
    });
    return [
      online,
      ...shares("client", client, { each, whole }),
      ...shares("server", server, { each, whole }),
      transport,
    ];
  });
}

export const flame: Group = {
  name: "flame",
  question: "where a private token's online time goes, on both sides",
  run: runFlame,
};

/** For groups that measure more models: one generation of each kind. */
export async function measureModel(
  context: BenchContext,
  model: { shape: string; positions?: number },
  size: GenerationSize,
): Promise<{ run: PrivateMeasurement; plain: Plain }> {
  const folder = await context.modelFolder(model);
  const plain = await measurePlain(folder, size);
  const run = await context.withParties(folder, {}, (parties) => measurePrivate(parties, size));
  return { run, plain };
}
