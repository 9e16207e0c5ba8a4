// Debian's python3-torch as a second opinion on BERT, BART and losses, where it is installed.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const pythons = ["python3", "/usr/bin/python3"];
const python = pythons.find((name) => spawnSync(name, ["-c", "import torch"]).status === 0);

export const hasTorch = python !== undefined;

export interface TorchQuestion {
  readonly kind: "bert" | "bart";
  /** A model folder. */
  readonly folder: string;
  /** Token ids of text and reference, or of source and target. */
  readonly pairs: readonly (readonly [readonly number[], readonly number[]])[];
  /** Position of the first token. */
  readonly first: number;
}

/** For each pair BERTScore's three values, or the target's mean log-probability. */
export function torchScores(question: TorchQuestion): unknown[] {
  return ask("torch-pretrained.py", question) as unknown[];
}

export interface LossQuestion {
  readonly rows: number;
  readonly columns: number;
  /** [rows, columns] each. */
  readonly own: readonly number[];
  readonly target: readonly number[];
  /** [rows]. */
  readonly weights: readonly number[];
  readonly temperature: number;
}

export interface TorchLoss {
  readonly loss: number;
  /** With respect to `own`. */
  readonly gradient: readonly number[];
}

/** Losses by name: soft, squared, cosine. */
export function torchLosses(question: LossQuestion): Readonly<Record<string, TorchLoss>> {
  return ask("torch-losses.py", question) as Record<string, TorchLoss>;
}

function ask(name: string, question: unknown): unknown {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const { status, stdout, stderr } = spawnSync(python!, [script], {
    input: JSON.stringify(question),
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}
