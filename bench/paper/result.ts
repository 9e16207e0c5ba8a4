// The file that a study leaves behind and goes on from: what was measured, with which settings, and
// the cells that follow from it.

import { existsSync, readFileSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import {
  ensure,
  MergenError,
  type networks,
  type Part,
  type PartBytes,
  type Task,
} from "../../src/index.ts";
import type { Machine } from "../machine.ts";
import type { Moments } from "./gate-times.ts";

/** Bumped when files of results change their meaning. */
export const PAPER_FORMAT = "mergen-paper-1";

export type NetworkName = keyof typeof networks;

/** A shape of `mergen init`, or one with fewer layers and words. */
export interface ModelSize {
  readonly shape: string;
  readonly layers?: number | undefined;
  readonly vocabulary?: number | undefined;
}

export const sizeName = ({ shape, layers, vocabulary }: ModelSize): string =>
  [shape, ...(layers === undefined ? [] : [`${layers}-layers`, `${vocabulary}-words`])].join("-");

/** Work and time of some segments of a run. */
export interface Counted {
  /** Online, at the client's clock. */
  readonly seconds: number;
  readonly roundTrips: number;
  readonly onlineBytes: number;
  /** Seconds of computation, both parties' together. */
  readonly compute: Readonly<Record<Part, number>>;
  readonly tasks: readonly Task[];
}

/** When a segment was done. */
export interface Mark {
  readonly segment: number;
  readonly kind: string;
  /** Rows that were there before it, or the first state of a head. */
  readonly start: number;
  /** Online time so far. */
  readonly seconds: number;
  readonly roundTrips: number;
  readonly bytes: number;
}

/** One private generation. */
export interface Run {
  readonly promptTokens: number;
  readonly tokens: number;
  readonly all: Counted;
  /** What came after the prompt pass and the step behind it. */
  readonly steps: Counted;
  readonly offline: {
    readonly seconds: number;
    readonly bytes: number;
    readonly multiplyAdds: number;
  };
  readonly marks: readonly Mark[];
  /** For how long the client was held up: above 0 where it was so in every attempt. */
  readonly stalledSeconds: number;
}

/** What a row says, beside what the same model says in the clear. */
export interface Spoken {
  readonly text: string;
  readonly tokens: readonly number[];
  readonly floatText: string;
  readonly floatTokens: readonly number[];
}

/** Runs of one method; the unit in which a study goes on. */
export interface Measurement {
  readonly id: string;
  readonly method: string;
  readonly model: ModelSize;
  readonly network: NetworkName;
  /** full: runs of the whole length; sample: steps at several lengths. */
  readonly kind: "full" | "sample";
  readonly length: number;
  /** Of the model. */
  readonly positions: number;
  readonly runs: readonly Run[];
  readonly moments: {
    readonly client: Readonly<Record<string, Moments>>;
    readonly server: Readonly<Record<string, Moments>>;
  };
  readonly spoken?: Spoken;
  /** Cores that others kept busy right before. */
  readonly busyCores: number;
}

export interface PartCell extends PartBytes {
  readonly seconds: number;
}

export interface CellTotal {
  readonly seconds: number;
  readonly onlineBytes: number;
  readonly roundTrips: number;
  readonly offlineSeconds: number;
  readonly offlineBytes: number;
}

export interface Cell {
  readonly method: string;
  readonly model: ModelSize;
  readonly length: number;
  readonly network: NetworkName;
  /** none: the method has no secure form yet, for the reason given. */
  readonly how: "run" | "sampled" | "modelled" | "none";
  readonly reason?: string;
  readonly parts?: Readonly<Record<Part, PartCell>>;
  /** What the parts leave of the total: messages, the schedule; less where parties overlap. */
  readonly rest?: PartCell;
  readonly total?: CellTotal;
}

/** A full run beside what samples of it say. */
export interface Agreement {
  readonly method: string;
  readonly network: NetworkName;
  readonly length: number;
  readonly runSeconds: number;
  readonly sampledSeconds: number;
  /** sampled / run - 1. */
  readonly difference: number;
  readonly agrees: boolean;
}

/** Seconds of a gate, and of each unit of its work. */
export interface Rate {
  readonly gate: number;
  readonly unit: number;
}

export interface Rates {
  readonly client: Readonly<Record<string, Rate>>;
  readonly server: Readonly<Record<string, Rate>>;
  /** Seconds of a round trip beyond computing and the line itself, by network. */
  readonly roundTrip: Readonly<Partial<Record<NetworkName, number>>>;
  /** Offline seconds of a multiply-add and of a byte. */
  readonly offline: { readonly multiplyAdd: number; readonly byte: number };
}

export interface Settings {
  readonly quick: boolean;
  readonly modelOnly: boolean;
  readonly methods: readonly string[];
  readonly shapes: readonly string[];
  readonly lengths: readonly number[];
  readonly networks: readonly NetworkName[];
  /** The method that is run in full on each network. */
  readonly full: string;
  readonly samples: number;
  /** Offline bytes of a sampled prompt at most. */
  readonly sampleBytes: number;
}

export interface PaperResult {
  readonly format: typeof PAPER_FORMAT;
  readonly machine: Machine;
  readonly kernels: string;
  readonly settings: Settings;
  readonly remark?: string;
  readonly startedAt: string;
  /** Whether others used the machine in any measurement. */
  readonly busy: boolean;
  /** Whether all was measured that was to be. */
  readonly finished: boolean;
  readonly measurements: readonly Measurement[];
  readonly rates: Rates | undefined;
  /** Where rates came from, when they were not measured here. */
  readonly ratesFrom?: string;
  readonly cells: readonly Cell[];
  readonly agreements: readonly Agreement[];
}

/** A file of results. @throws E_DATA when it is none, E_VERSION when it is of another format */
export function readPaperResult(path: string): PaperResult {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    value = undefined;
  }
  const found = (value ?? {}) as Partial<PaperResult>;
  const whole = Array.isArray(found.measurements) && Array.isArray(found.cells);
  ensure(whole, "E_DATA", `${path}: no result of mergen bench paper`);
  if (found.format !== PAPER_FORMAT) {
    throw new MergenError("E_VERSION", `${path}: format ${found.format}, not ${PAPER_FORMAT}`);
  }
  return value as PaperResult;
}

/** The same where there is a file. */
export function readIfThere(path: string): PaperResult | undefined {
  return existsSync(path) ? readPaperResult(path) : undefined;
}

/** Whoever reads the file sees the old or the new one. */
export async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${path}.${process.pid}.part`;
  await writeFile(temporary, text);
  await rename(temporary, path);
}
