// Debian's python3-torch as a second opinion on BERT and BART, where it is installed.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("torch-pretrained.py", import.meta.url));
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
  const { status, stdout, stderr } = spawnSync(python!, [script], {
    input: JSON.stringify(question),
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}
