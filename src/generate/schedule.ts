// The public schedule of a generation: what is computed, in which order, and where a bundle of
// correlations ends. Client, server and dealer derive it from the same public numbers, so all
// three number their segments alike.
//
// State j is the hidden state that predicts token j: state 0 is the prompt's last row, state j
// (j >= 1) comes from step j at position promptPositions + j - 1. A step's input is the state
// before it, sent again ("resend"), or the token before it, picked by the client ("client") or
// found and looked up under masks ("lookup"). Either all steps look up, or step j is the client's
// iff anchor > 0 and j is a multiple of anchor, and then the client must have the logits of token
// j - 1 before.
//
// A head turns the states since the last head into logits, or into tokens. It comes as soon as
// there are `chunk` of them, before a step of the client or one that looks up, and at the end, and
// stands right before the step that follows, in whose first message its logits travel.

import { MergenError } from "../errors.ts";

/** One piece of computation; `id` counts from 0 in the order of computation. */
export type Segment =
  | ({ readonly id: number; readonly kind: "prompt" } & PromptPart)
  | {
      readonly id: number;
      readonly kind: "step";
      /** 1 .. maxTokens - 1: the state that it makes. */
      readonly index: number;
      readonly source: "resend" | "client" | "lookup";
      /** Its position. */
      readonly start: number;
    }
  | {
      readonly id: number;
      readonly kind: "head";
      /** From the first state to the one after the last. */
      readonly states: readonly [from: number, to: number];
      /** Whether the step that follows looks up the token that this head finds; default no. */
      readonly feeds?: true;
    };

/** What of a prompt pass is one segment: rows start.. and, unless it is all, some of the layers. */
export interface PromptPart {
  readonly rows: number;
  readonly start: number;
  /** From the first to the one after the last. */
  readonly layers?: readonly [from: number, to: number] | undefined;
}

export interface ScheduleOptions {
  /** Positions of the prompt, `begin` included. */
  readonly promptPositions: number;
  /** Tokens to make at most. */
  readonly maxTokens: number;
  /** States of a head at most. */
  readonly chunk: number;
  /** Every anchor-th token comes from the client; 0 none. */
  readonly anchor: number;
  /** "lookup": every step takes the token before it, found under masks; `anchor` is not read. */
  readonly next?: "lookup" | undefined;
}

/** Rows of a prompt that go through the layers together, where it is split. */
const PROMPT_ROWS = 128;

/** A prompt pass cut into one segment a layer, and into pieces of rows where it is long. */
export function promptParts(promptPositions: number, layerCount: number): PromptPart[] {
  const parts: PromptPart[] = [];
  for (let start = 0; start < promptPositions; start += PROMPT_ROWS) {
    const rows = Math.min(PROMPT_ROWS, promptPositions - start);
    for (let layer = 0; layer < layerCount; layer++) {
      parts.push({ rows, start, layers: [layer, layer + 1] });
    }
  }
  return parts;
}

/** Dealt bytes of a bundle, both parties' together, beyond which it is cut. */
const BUNDLE_BYTES = 2 ** 27;

const LIMIT = 1 << 20;

/**
 * All segments of a generation in the order of computation; the prompt in one, unless in parts.
 * @throws E_USAGE naming the number that is wrong
 */
export function schedule(options: ScheduleOptions, parts?: readonly PromptPart[]): Segment[] {
  const { promptPositions, maxTokens, chunk, anchor } = options;
  for (const [name, value] of Object.entries({ promptPositions, maxTokens, chunk, anchor })) {
    checkNumber(name, value);
  }
  const looksUp = options.next === "lookup";
  const whole = [{ rows: promptPositions, start: 0 }];
  const segments = (parts ?? whole).map((part, id): Segment => ({ id, kind: "prompt", ...part }));
  let from = 0;
  for (let state = 0; state < maxTokens; state++) {
    if (state > 0) {
      const sent = isClientStep(state, anchor) ? "client" : "resend";
      const source = looksUp ? "lookup" : sent;
      const start = promptPositions + state - 1;
      segments.push({ id: segments.length, kind: "step", index: state, source, start });
    }
    const next = state + 1;
    const ends = looksUp || isClientStep(next, anchor) || next === maxTokens;
    if (next - from === chunk || ends) {
      const head = { id: segments.length, kind: "head", states: [from, next] } as const;
      segments.push(looksUp && next < maxTokens ? { ...head, feeds: true } : head);
      from = next;
    }
  }
  return segments;
}

/**
 * Groups a schedule into bundles, the units in which correlations are dealt and used up.
 *
 * A client that finds the end of the text in a head's logits has by then begun the step that
 * carries them. So a bundle ends right after the first step that follows the head with which the
 * heads of this bundle cover `chunk` states or more: then one step is wasted. The last bundle ends
 * with the schedule. With anchors nearer than `chunk` a head covers fewer states, a bundle takes
 * several heads: a bundle is always about `chunk` steps. It also ends between parts of a prompt,
 * and between steps, where it would else grow beyond BUNDLE_BYTES, given their sizes. Between two
 * heads all bundles are used up; with heads nearer than a chunk, D learns the length in bundles.
 * @throws E_USAGE when chunk is no positive integer
 */
export function bundles(
  segments: readonly Segment[],
  chunk: number,
  bytesOf: (segment: Segment) => number = () => 0,
): Segment[][] {
  checkNumber("chunk", chunk);
  const groups: Segment[][] = [];
  let group: Segment[] = [];
  let covered = 0;
  let bytes = 0;
  for (const segment of segments) {
    const size = bytesOf(segment);
    const last = group.at(-1)?.kind;
    const isBetween = last === "prompt" || (last === "step" && segment.kind === "step");
    if (isBetween && bytes + size > BUNDLE_BYTES) {
      groups.push(group);
      group = [];
      bytes = 0;
    }
    bytes += size;
    group.push(segment);
    if (segment.kind === "head") covered += segment.states[1] - segment.states[0];
    if (segment.kind === "step" && covered >= chunk) {
      groups.push(group);
      group = [];
      covered = 0;
      bytes = 0;
    }
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

function isClientStep(index: number, anchor: number): boolean {
  return anchor > 0 && index % anchor === 0;
}

function checkNumber(name: string, value: number): void {
  const least = name === "anchor" ? 0 : 1;
  if (!Number.isInteger(value) || value < least || value > LIMIT) {
    const message = `schedule: ${name} is not an integer of ${least} to ${LIMIT}`;
    throw new MergenError("E_USAGE", `${message}; see the generation part of config.json`);
  }
}
