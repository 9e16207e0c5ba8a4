// What the groups of a benchmark run have in common.

import type { networks } from "../src/index.ts";
import type { Limits } from "./groups/limits.ts";
import type { ProcessReport } from "./profile.ts";
import type { Row } from "./rows.ts";

/** Where a party listens. */
export interface Address {
  readonly url: string;
  readonly token: string;
}

/** A dealer and a server as processes of their own, which answer questions. */
export interface MeasuredParties {
  readonly server: Address;
  readonly dealer: Address;
  /** Memory, processor time and, of the server, what its time went to since reset(). */
  report(party: "server" | "dealer"): Promise<ProcessReport>;
  reset(): Promise<void>;
}

export interface PartyNeeds {
  readonly network?: keyof typeof networks;
  readonly maxSessions?: number;
  /** Count what the server's time goes to; else nothing is counted and nothing costs. */
  readonly profile?: boolean;
}

export interface BenchContext {
  /** Fewer samples and smaller models. */
  readonly quick: boolean;
  /** Least time for the samples of a kernel. */
  readonly budgetMs: number;
  /** Of the models that are run end to end; sizes has its own. Default gpt2. */
  readonly shape?: string | undefined;
  /** None without the native addon. */
  readonly limits: Limits | undefined;
  /** Says what is going on. */
  note(text: string): void;
  /** The folder of a merged model of a shape, made where it is not there yet. */
  modelFolder(model: { shape: string; positions?: number }): Promise<string>;
  withParties<T>(
    folder: string,
    needs: PartyNeeds,
    work: (parties: MeasuredParties) => Promise<T>,
  ): Promise<T>;
  /** What the group of anchors reads. */
  readonly anchors: AnchorsInput | undefined;
}

export interface AnchorsInput {
  readonly model: string;
  readonly data: string;
  readonly limit?: number | undefined;
}

export interface Group {
  readonly name: string;
  /** What its rows answer. */
  readonly question: string;
  /** Runs only when it is named. */
  readonly onRequest?: true;
  run(context: BenchContext): Promise<Row[]>;
}
