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
  | { readonly id: number; readonly kind: "prompt"; readonly rows: number; readonly start: 0 }
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

const LIMIT = 1 << 20;

/**
 * All segments of a generation in the order of computation.
 * @throws E_USAGE naming the number that is wrong
 */
export function schedule(options: ScheduleOptions): Segment[] {
  const { promptPositions, maxTokens, chunk, anchor } = options;
  for (const [name, value] of Object.entries({ promptPositions, maxTokens, chunk, anchor })) {
    checkNumber(name, value);
  }
  const looksUp = options.next === "lookup";
  const segments: Segment[] = [{ id: 0, kind: "prompt", rows: promptPositions, start: 0 }];
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
 * several heads: a bundle is always about `chunk` steps.
 * @throws E_USAGE when chunk is no positive integer
 */
export function bundles(segments: readonly Segment[], chunk: number): Segment[][] {
  checkNumber("chunk", chunk);
  const groups: Segment[][] = [];
  let group: Segment[] = [];
  let covered = 0;
  for (const segment of segments) {
    group.push(segment);
    if (segment.kind === "head") covered += segment.states[1] - segment.states[0];
    if (segment.kind === "step" && covered >= chunk) {
      groups.push(group);
      group = [];
      covered = 0;
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
