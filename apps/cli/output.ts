// What commands print: JSON lines, text, and progress on standard error.

import { Presets, SingleBar } from "cli-progress";
import type { Generation } from "../../src/index.ts";

/** One compact object a line on standard output. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A bar on standard error, where that is a terminal and the work takes over a second. */
export class Progress {
  readonly #total: number;
  readonly #label: string;
  readonly #started = performance.now();
  #bar: SingleBar | undefined;

  constructor(label: string, total: number) {
    this.#label = label;
    this.#total = total;
  }

  update(done: number): void {
    if (!process.stderr.isTTY) return;
    if (!this.#bar && performance.now() - this.#started > 1000) {
      const format = `${this.#label} {bar} {value}/{total} | {eta_formatted} left`;
      this.#bar = new SingleBar({ format, stream: process.stderr }, Presets.shades_classic);
      this.#bar.start(this.#total, done);
    }
    this.#bar?.update(done);
  }

  stop(): void {
    this.#bar?.stop();
  }
}

/** Columns aligned, the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join("  ");
  return rows.map(line).join("\n");
}

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} kB`;
  return `${(count / 1e6).toFixed(2)} MB`;
}

/** The rows of a generation's costs, for people. */
export function costRows(generation: Generation): string[][] {
  const { online, offline, tokens } = generation;
  const count = Math.max(1, tokens.length);
  return [
    ["tokens", String(tokens.length)],
    ["online seconds per token", (online.seconds / count).toFixed(4)],
    ["round trips", String(online.roundTrips)],
    ["client to server, online", bytes(online.clientSentBytes)],
    ["server to client, online", bytes(online.serverSentBytes)],
    ["offline seconds", offline.seconds.toFixed(3)],
    ["dealer to server, offline", bytes(offline.dealerToServerBytes)],
    ["dealer to client, offline", bytes(offline.dealerToClientBytes)],
    ["client to server, offline", bytes(offline.clientToServerBytes)],
    ["server to dealer, once per model", bytes(offline.serverToDealerBytes)],
  ];
}
