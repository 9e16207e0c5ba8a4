// What a study keeps of a cell, a model of one recipe on one task: how it was made and what its
// texts are worth. The files are checked in, and docs/quality.md is made of them.

import { readFileSync } from "node:fs";
import { z } from "zod";
import { ensure, MergenError } from "../errors.ts";

/** Bumped when the files change their meaning. */
export const QUALITY_FORMAT = "mergen-quality-1";

const count = z.int().nonnegative();

/** As `mergen eval` computes them. */
const metrics = z.strictObject({
  chrfpp: z.number(),
  bleu: z.number(),
  nist: z.number(),
  rougeL: z.number(),
  meteor: z.number(),
  /** Share of texts that reach the end token. */
  endReached: z.number(),
  slotErrorRate: z.number().optional(),
});

const scored = z.strictObject({ count, metrics });

const result = z.strictObject({
  format: z.literal(QUALITY_FORMAT),
  task: z.string(),
  cell: z.string(),
  recipe: z.string(),
  note: z.string().optional(),
  /** What ran the study, and where. */
  command: z.string(),
  machine: z.string(),
  commit: z.string(),
  training: z.strictObject({
    /** What its weights were to begin with. */
    from: z.string(),
    /** What it learned. */
    texts: z.string(),
    steps: count,
    batchSize: count,
    seed: count,
    /** Over all resumptions. */
    seconds: z.number(),
    /** Of the last step. */
    loss: z.number().optional(),
  }),
  /** Model folder, and the one on the grid of the secure modes where it is another. */
  model: z.string(),
  exported: z.string().optional(),
  /** 0: states are sent again; 1: tokens are. */
  anchor: z.int().min(0).max(1),
  data: z.strictObject({
    files: z.array(z.string()),
    /** Pairs of the training set, and those left out as cases of dev or test. */
    train: count,
    leftOut: count,
    /** Inputs cut to the bucket, where prompts are plain text. */
    cut: z.strictObject({ train: count, dev: count, test: count }).optional(),
    /** Pairs that students learn, and teacher's texts without an end, which they do not. */
    distilled: count,
    withoutEnd: count,
  }),
  dev: z.strictObject({ count, rougeL: z.number() }),
  /** Float, all test cases. */
  test: scored,
  /** The first test cases in the secure mode, and the same ones in float. */
  secure: z
    .strictObject({
      count,
      seconds: z.number(),
      metrics,
      float: metrics,
      /** Texts that are equal in both. */
      equal: count,
      bounds: z.enum(["proven", "calibrated"]),
    })
    .optional(),
  /** Why there is no secure part. */
  refused: z.string().optional(),
});

export type QualityResult = z.infer<typeof result>;
export type QualityMetrics = z.infer<typeof metrics>;

/** @throws E_DATA naming file and key */
export function loadQualityResult(path: string): QualityResult {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new MergenError("E_DATA", `${path}: cannot be read as JSON`, { cause });
  }
  const { data, error } = result.safeParse(json);
  const issue = error?.issues[0];
  ensure(data, "E_DATA", `${path}: ${issue?.path.join(".") || "the whole"}: ${issue?.message}`);
  return data;
}
