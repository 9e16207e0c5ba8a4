// Exchanges that cost more to work on than to send. Both parties do the same work for them, so each
// sends its part before it begins, and they work at the same time; else the second would wait for
// the first's next message. Small ones ride with what follows: fewer messages.

import type { GateSpec } from "../gate/index.ts";

/** Entries of an exchange from which on its part leaves at once. */
const EAGER_ENTRIES = 2 ** 13;

/** Whether a party sends what this gate has to say before it goes on with it. */
export function isEager(gate: GateSpec): boolean {
  switch (gate.kind) {
    case "exchange":
      return gate.rows * gate.columns >= EAGER_ENTRIES;
    case "max":
      return gate.heads * gate.lengths.reduce((sum, length) => sum + length, 0) >= EAGER_ENTRIES;
    default:
      return false;
  }
}
