// What every generation reports, in every mode: the JSON that other tools read.

export type Mode = "float" | "fixed" | "secure";

/** Frame bytes, header and payload, of the online phase; seconds from prompt pass to last token. */
export interface OnlineReport {
  readonly seconds: number;
  /** How often the client waited for an answer. */
  readonly roundTrips: number;
  readonly clientSentBytes: number;
  readonly serverSentBytes: number;
}

/** Frame bytes of the offline phase. serverToDealerBytes is sent once per model. */
export interface OfflineReport {
  readonly seconds: number;
  readonly dealerToServerBytes: number;
  readonly dealerToClientBytes: number;
  readonly clientToServerBytes: number;
  readonly serverToDealerBytes: number;
}

export interface Generation {
  readonly input: string;
  readonly text: string;
  /** Generated token ids, without prompt and end token. */
  readonly tokens: readonly number[];
  readonly mode: Mode;
  readonly stopped: "end" | "length";
  readonly online: OnlineReport;
  readonly offline: OfflineReport;
}
