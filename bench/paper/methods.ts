// The rows of the study: methods of the paper's Tables 1 and 2 and of its related work, as presets,
// with the figures that the paper has of them.

import type { AskedOptions, Part, PresetName } from "../../src/index.ts";

/** Of GPT-2 at 128 positions on the paper's machine, prefix 4. */
export interface PaperFigures {
  readonly embed: number;
  readonly linear: number;
  readonly softmax: number;
  readonly seconds: number;
  readonly gigabytes: number;
  readonly speedUp: number;
}

export interface Method {
  readonly name: PresetName;
  /** As tables call it. */
  readonly title: string;
  /** What a step takes in. */
  readonly next: NonNullable<AskedOptions["next"]>;
  /** Figures of T5 at 128 positions: seconds, GB. */
  readonly t5?: { readonly seconds: number; readonly gigabytes?: number };
  readonly paper?: PaperFigures;
}

type Figures = readonly [
  embed: number,
  linear: number,
  softmax: number,
  seconds: number,
  gigabytes: number,
  speedUp: number,
];

const figures = ([embed, linear, softmax, seconds, gigabytes, speedUp]: Figures): PaperFigures => ({
  embed,
  linear,
  softmax,
  seconds,
  gigabytes,
  speedUp,
});

/** Liang et al., AAAI 2024, Tables 1 and 2. */
export const methods: readonly Method[] = [
  {
    name: "vanilla",
    title: "vanilla (CrypTen's functions)",
    next: "lookup",
    paper: figures([321.44, 251.93, 454.61, 1328.26, 322.54, 1]),
    t5: { seconds: 1569.41, gigabytes: 380.45 },
  },
  {
    name: "mpcformer-2relu",
    title: "MPCFormer 2relu",
    next: "lookup",
    paper: figures([316.75, 253.57, 181.14, 1001.41, 317.2, 1.33]),
    t5: { seconds: 1207.63 },
  },
  {
    name: "mpcformer-2quad",
    title: "MPCFormer 2quad",
    next: "lookup",
    paper: figures([318.16, 253.3, 152.45, 972.5, 316.73, 1.36]),
    t5: { seconds: 1149.07 },
  },
  {
    name: "the-x",
    title: "THE-X",
    next: "lookup",
    paper: figures([329.29, 258, 87.71, 965.79, 319.14, 1.37]),
    t5: { seconds: 1050.28 },
  },
  { name: "iron", title: "IRON", next: "lookup" },
  { name: "puma", title: "PUMA", next: "lookup" },
  { name: "east", title: "East", next: "lookup" },
  { name: "power-softmax", title: "power softmax", next: "lookup" },
  { name: "delphi", title: "Delphi", next: "lookup" },
  {
    name: "merge",
    title: "MERGE",
    next: "resend",
    paper: figures([5.17, 157.5, 0, 171.38, 121.76, 7.75]),
    t5: { seconds: 144.02, gigabytes: 98.03 },
  },
  {
    name: "merge-er",
    title: "MERGE, only ER",
    next: "resend",
    paper: figures([5.41, 260.36, 477.76, 834.13, 168.51, 1.59]),
    t5: { seconds: 874.36 },
  },
  {
    name: "merge-mm",
    title: "MERGE, only MM",
    next: "lookup",
    paper: figures([320.84, 250.98, 0, 747.45, 281.88, 1.78]),
    t5: { seconds: 693.3 },
  },
];

/** What speed-ups are held against. */
export const BASELINE: PresetName = "vanilla";

/** MERGE against CrypTen in the paper, by length. */
export const paperSpeedUps: Readonly<Record<number, number>> = { 128: 7.75, 512: 26.5 };

/** Positions that the private prompt has in all runs of the paper. */
export const PREFIX = 4;

export const methodNames: readonly string[] = methods.map(({ name }) => name);

export function methodOf(name: string): Method {
  return methods.find((method) => method.name === name)!;
}

/** Heads of columns. */
export const partTitles: Readonly<Record<Part, string>> = {
  embed: "embed",
  linear: "linear",
  attention: "attention",
  activation: "activation",
  norm: "norm",
  next: "next token",
};
