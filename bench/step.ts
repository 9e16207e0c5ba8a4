// What does one private token cost, in seconds, bytes and round trips, against real peers?

import type { AskedOptions, Channel, Client, Generation, SegmentProgress } from "../src/index.ts";
import { median } from "./rows.ts";

export interface StepOptions {
  readonly client: Client;
  readonly connectServer: () => Promise<Channel>;
  readonly connectDealer: () => Promise<Channel>;
  readonly prompt: string;
  /** Tokens that are generated; the end token does not stop. */
  readonly tokens: number;
  /** Tokens of a generation before, which is not measured. */
  readonly warmUpTokens: number;
  /** Called before the first message of the measured generation. */
  readonly beforeOnline?: (() => Promise<void>) | undefined;
  /** What a step takes in; default as the model's config says. */
  readonly next?: AskedOptions["next"];
}

/** Costs of one pass through the model, and the online bytes of both directions. */
export interface OnlineCost {
  readonly onlineSeconds: number;
  readonly onlineBytes: number;
  readonly roundTrips: number;
}

/** The same with what was dealt and uploaded for it. */
export interface PassCost extends OnlineCost {
  readonly offlineSeconds: number;
  readonly offlineBytes: number;
}

export interface StepReport {
  /**
   * The prompt pass, up to the first hidden state; its offline part is that of a generation of one
   * token.
   */
  readonly prompt: PassCost;
  /**
   * One token after it: median seconds online; all else as a mean, the heads' included.
   */
  readonly perToken: PassCost;
  /** Seconds of each step, in order. */
  readonly stepSeconds: readonly number[];
  /** Online seconds of the whole generation, heads and all. */
  readonly totalSeconds: number;
  /** Of the whole generation. */
  readonly total: { readonly roundTrips: number; readonly bytes: number };
  readonly tokens: readonly number[];
}

/** Bytes of a generation's bundles and uploads, without those once a model. */
function offlineBytesOf(offline: Generation["offline"]): number {
  return offline.dealerToServerBytes + offline.dealerToClientBytes + offline.clientToServerBytes;
}

const bytesOf = (mark: SegmentProgress) => mark.sentBytes + mark.receivedBytes;

/** Bundles that are prepared at one time; those of a long prompt have up to 128 MB. */
const READY = { batch: 4 } as const;

/**
 * Generates once to warm up, once for one token, and once to measure. No bundle is prepared while
 * others are used, so that the two phases are measured apart.
 */
export async function measureStep(options: StepOptions): Promise<StepReport> {
  const { client, connectServer, connectDealer, prompt, tokens, warmUpTokens } = options;
  const { next } = options;
  const how = { ignoreEnd: true, ahead: READY, ...(next !== undefined && { next }) } as const;
  const common = { connectServer, connectDealer, prompt, ...how };
  if (warmUpTokens > 0) await client.generate({ ...common, maxTokens: warmUpTokens });
  const one = (await client.generate({ ...common, maxTokens: 1 })).offline;
  const marks: SegmentProgress[] = [];
  const onSegment = (mark: SegmentProgress) => void marks.push(mark);
  const { beforeOnline } = options;
  const hooks = { onSegment, ...(beforeOnline && { beforeOnline }) };
  const generation = await client.generate({ ...common, maxTokens: tokens, ...hooks });
  const { online, offline } = generation;
  const first = marks.findLast(({ segment }) => segment.kind === "prompt")!;
  const steps = marks.filter(({ segment }) => segment.kind === "step");
  const stepSeconds = steps.map(
    (mark, i) => (mark.onlineMs - (steps[i - 1] ?? first).onlineMs) / 1000,
  );
  const bytes = online.clientSentBytes + online.serverSentBytes;
  const count = Math.max(1, tokens - 1);
  // Bundles are prepared one after the other: their time goes by their bytes.
  const promptShare = offlineBytesOf(one) / offlineBytesOf(offline);
  return {
    prompt: {
      onlineSeconds: first.onlineMs / 1000,
      onlineBytes: bytesOf(first),
      roundTrips: first.roundTrips,
      offlineSeconds: offline.seconds * promptShare,
      offlineBytes: offlineBytesOf(one),
    },
    perToken: {
      onlineSeconds: median(stepSeconds),
      onlineBytes: (bytes - bytesOf(first)) / count,
      roundTrips: (online.roundTrips - first.roundTrips) / count,
      offlineSeconds: (offline.seconds * (1 - promptShare)) / count,
      offlineBytes: (offlineBytesOf(offline) - offlineBytesOf(one)) / count,
    },
    stepSeconds,
    totalSeconds: online.seconds,
    total: { roundTrips: online.roundTrips, bytes },
    tokens: generation.tokens,
  };
}
