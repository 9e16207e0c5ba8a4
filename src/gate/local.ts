// Gates that need no message and no correlation: S adds a constant; rows are joined and cut;
// shared wires are added and centred; wires are carried from segment to segment.

import { ensure } from "../errors.ts";
import { appended, isGrown } from "../ring/memory.ts";
import { byParts } from "../ring/parts.ts";
import type { Ring, Words } from "../ring/ring.ts";
import type { ClientWire, DealerWire, FixedWire, ServerWire } from "../share/wires.ts";
import { maskedOf, maskOf, shareOf, wire } from "./access.ts";
import { type Gate, type GateBase, local, noCost } from "./gate.ts";

/** Adds words that S holds (a bias, positions) to a shared or client-masked wire. */
export interface Bias extends GateBase {
  readonly kind: "bias";
  readonly form: "shared" | "client";
  /** Key of S's words: [columns], or rows of [.., columns] from row `from`. */
  readonly constant: string;
  readonly from: number | undefined;
  readonly offline: boolean;
}

/** Rows of client-masked wires one after the other. */
export interface Concat extends GateBase {
  readonly kind: "concat";
}

/** Rows from..from+rows-1 of a wire, in the form in which it is. */
export interface Slice extends GateBase {
  readonly kind: "slice";
  readonly from: number;
  readonly form: "client" | "shared";
  /** Whether C's part of a shared wire is known before the input. */
  readonly offline: boolean;
}

/** a 2^shiftA + b 2^shiftB of shared wires; a client-masked operand counts as (-r, x^). */
export interface Sum extends GateBase {
  readonly kind: "sum";
  readonly shifts: readonly [number, number];
  readonly offline: boolean;
}

/** A client-masked wire as a shared one: C's part is -r, S's x^. */
export interface Share extends GateBase {
  readonly kind: "share";
}

/** columns * z - sum over the row of z: the mean taken off, without a division. */
export interface Center extends GateBase {
  readonly kind: "center";
  readonly offline: boolean;
}

/** Brings in a client-masked wire of an earlier segment. */
export interface Load extends GateBase {
  readonly kind: "load";
  readonly name: string;
}

/** Keeps a client-masked wire for later segments, in place of `replaces`. */
export interface Store extends GateBase {
  readonly kind: "store";
  readonly name: string;
  readonly replaces: string | undefined;
}

function biased(ring: Ring, x: Words, words: Words, gate: Bias): Words {
  const { rows, columns, from } = gate;
  if (from !== undefined)
    return ring.add(x, words.subarray(from * columns, (from + rows) * columns));
  const { sum } = byParts(ring, { count: x.length, unit: columns }, (part) => ({
    sum: part.ring.addRow(part.of(x), words.subarray(0, columns)),
  }));
  return sum;
}

/** Adding S's words leaves C's part as it is. */
function passBy<W>(gate: Bias, context: { readonly wires: Map<number, W> }): void {
  context.wires.set(gate.output, wire(context, gate.inputs[0]!));
}

export const bias: Gate<Bias> = {
  reference(gate, context) {
    const x = wire(context, gate.inputs[0]!);
    const values = biased(context.ring, x.values, context.tensors.words(gate.constant), gate);
    context.wires.set(gate.output, { ...x, values });
  },
  mask(gate, context) {
    if (gate.form === "client") passBy(gate, context as States<ClientWire | DealerWire>);
  },
  deal(gate, context) {
    if (gate.form === "shared") passBy(gate, context);
  },
  prepare(gate, context) {
    if (gate.form === "shared" && gate.offline) passBy(gate, context);
  },
  idle: (gate) => gate.offline,
  client: (gate, context) =>
    local(() => {
      if (!gate.offline) passBy(gate, context);
    }),
  server: (gate, context) =>
    local(() => {
      const constant = context.tensors.words(gate.constant);
      if (gate.form === "shared") {
        const share = biased(context.ring, shareOf(context, gate.inputs[0]!), constant, gate);
        context.wires.set(gate.output, { form: "shared", share });
      } else {
        const masked = biased(context.ring, maskedOf(context, gate.inputs[0]!), constant, gate);
        context.wires.set(gate.output, { form: "client", masked });
      }
    }),
  cost: () => noCost,
};

/** A gate that rearranges rows, in every party's view alike. */
function rowGate<S extends GateBase>(rearrange: (gate: S, operands: Words[]) => Words): Gate<S> {
  return {
    reference(gate, context) {
      const operands = gate.inputs.map((id) => wire(context, id));
      const masks = operands.map((operand) => operand.mask);
      const known = masks.every((mask) => mask !== undefined);
      context.wires.set(gate.output, {
        values: rearrange(
          gate,
          operands.map((operand) => operand.values),
        ),
        ...(known && {
          mask: () =>
            rearrange(
              gate,
              masks.map((mask) => mask!()),
            ),
        }),
      });
    },
    mask(gate, context) {
      const masks = gate.inputs.map((id) => maskOf(context, id));
      context.wires.set(gate.output, { form: "client", mask: rearrange(gate, masks) });
    },
    deal() {},
    prepare() {},
    idle: () => true,
    client: () => local(),
    server: (gate, context) =>
      local(() => {
        const parts = gate.inputs.map((id) => maskedOf(context, id));
        context.wires.set(gate.output, { form: "client", masked: rearrange(gate, parts) });
      }),
    cost: () => noCost,
  };
}

export const concat: Gate<Concat> = rowGate((_gate, parts) => appended(parts));

function rowsOf({ from, rows, columns }: Slice, whole: Words): Words {
  return whole.slice(from * columns, (from + rows) * columns);
}

const maskedSlice: Gate<Slice> = rowGate((gate, [whole]) => rowsOf(gate, whole!));

function sharedRows<W extends { readonly form: string }>(
  gate: Slice,
  context: { readonly wires: Map<number, W> },
) {
  return { form: "shared", share: rowsOf(gate, shareOf(context, gate.inputs[0]!)) } as const;
}

export const slice: Gate<Slice> = {
  ...maskedSlice,
  mask(gate, context) {
    if (gate.form === "client") maskedSlice.mask!(gate, context);
  },
  deal(gate, context) {
    if (gate.form === "shared") context.wires.set(gate.output, { form: "shared" });
  },
  prepare(gate, context) {
    if (gate.form === "client" || !gate.offline) return;
    context.wires.set(gate.output, sharedRows(gate, context));
  },
  idle: (gate) => gate.form === "client" || gate.offline,
  client: (gate, context) =>
    local(() => {
      if (gate.form === "client" || gate.offline) return;
      context.wires.set(gate.output, sharedRows(gate, context));
    }),
  server: (gate, context) =>
    gate.form === "client"
      ? maskedSlice.server(gate, context)
      : local(() => void context.wires.set(gate.output, sharedRows(gate, context))),
};

function clientSummand(ring: Ring, context: { wires: Map<number, ClientWire> }, id: number): Words {
  const found = wire(context, id);
  return found.form === "client" ? ring.negate(found.mask) : shareOf(context, id);
}

function serverSummand(context: { wires: Map<number, ServerWire> }, id: number): Words {
  const found = wire(context, id);
  return found.form === "client" ? found.masked : shareOf(context, id);
}

function shiftedSum(ring: Ring, gate: Sum, a: Words, b: Words): Words {
  const [shiftA, shiftB] = gate.shifts;
  const { sum } = byParts(ring, { count: a.length }, (part) => {
    const scaled = part.ring.scale(part.of(a), 1n << BigInt(shiftA));
    return { sum: part.ring.addScaled(scaled, part.of(b), 1n << BigInt(shiftB)) };
  });
  return sum;
}

function clientSum(gate: Sum, context: { ring: Ring; wires: Map<number, ClientWire> }): void {
  const { ring } = context;
  const [a, b] = gate.inputs.map((id) => clientSummand(ring, context, id));
  context.wires.set(gate.output, { form: "shared", share: shiftedSum(ring, gate, a!, b!) });
}

export const sum: Gate<Sum> = {
  reference(gate, context) {
    const [a, b] = gate.inputs.map((id) => wire(context, id).values);
    context.wires.set(gate.output, { values: shiftedSum(context.ring, gate, a!, b!) });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare(gate, context) {
    if (gate.offline) clientSum(gate, context);
  },
  idle: (gate) => gate.offline,
  client: (gate, context) =>
    local(() => {
      if (!gate.offline) clientSum(gate, context);
    }),
  server: (gate, context) =>
    local(() => {
      const [a, b] = gate.inputs.map((id) => serverSummand(context, id));
      const share = shiftedSum(context.ring, gate, a!, b!);
      context.wires.set(gate.output, { form: "shared", share });
    }),
  cost: () => noCost,
};

export const share: Gate<Share> = {
  reference(gate, context) {
    context.wires.set(gate.output, { values: wire(context, gate.inputs[0]!).values });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare(gate, context) {
    const own = clientSummand(context.ring, context, gate.inputs[0]!);
    context.wires.set(gate.output, { form: "shared", share: own });
  },
  idle: () => true,
  client: () => local(),
  server: (gate, context) =>
    local(() => {
      const own = serverSummand(context, gate.inputs[0]!);
      context.wires.set(gate.output, { form: "shared", share: own });
    }),
  cost: () => noCost,
};

function centred(ring: Ring, z: Words, columns: number): Words {
  const { differences } = byParts(ring, { count: z.length, unit: columns }, (part) => {
    const own = part.of(z);
    const sums = part.ring.spread(part.ring.sumRows(own, columns), columns);
    return { differences: part.ring.sub(part.ring.scale(own, BigInt(columns)), sums) };
  });
  return differences;
}

function clientCenter(gate: Center, context: { ring: Ring; wires: Map<number, ClientWire> }): void {
  const share = centred(context.ring, shareOf(context, gate.inputs[0]!), gate.columns);
  context.wires.set(gate.output, { form: "shared", share });
}

export const center: Gate<Center> = {
  reference(gate, context) {
    const z = wire(context, gate.inputs[0]!).values;
    context.wires.set(gate.output, { values: centred(context.ring, z, gate.columns) });
  },
  deal: (gate, context) => void context.wires.set(gate.output, { form: "shared" }),
  prepare(gate, context) {
    if (gate.offline) clientCenter(gate, context);
  },
  idle: (gate) => gate.offline,
  client: (gate, context) =>
    local(() => {
      if (!gate.offline) clientCenter(gate, context);
    }),
  server: (gate, context) =>
    local(() => {
      const share = centred(context.ring, shareOf(context, gate.inputs[0]!), gate.columns);
      context.wires.set(gate.output, { form: "shared", share });
    }),
  cost: () => noCost,
};

type States<W> = { wires: Map<number, W>; states: Map<string, W> };

function bringIn<W>(gate: Load, context: States<W>): void {
  const state = context.states.get(gate.name);
  ensure(state !== undefined, "E_INTERNAL", `state ${gate.name} is missing`);
  context.wires.set(gate.output, state);
}

/** S's wire as it outlives its segment. */
function lasting({ ring, wires }: { ring: Ring; wires: Map<number, ServerWire> }, id: number) {
  const masked = maskedOf({ wires }, id);
  const stays = ring.memory.lasting || isGrown(masked);
  return { form: "client", masked: stays ? masked : masked.slice() } as const;
}

function keep<W extends FixedWire | DealerWire | ClientWire | ServerWire>(
  gate: Store,
  context: States<W>,
): void {
  context.states.set(gate.name, wire(context, gate.inputs[0]!));
  if (gate.replaces !== undefined) context.states.delete(gate.replaces);
}

export const load: Gate<Load> = {
  reference: bringIn,
  mask: (gate, context) => bringIn(gate, context as States<ClientWire | DealerWire>),
  deal() {},
  prepare() {},
  idle: () => true,
  client: () => local(),
  server: (gate, context) => local(() => bringIn(gate, context)),
  cost: () => noCost,
};

export const store: Gate<Store> = {
  reference: keep,
  mask: (gate, context) => keep(gate, context as States<ClientWire | DealerWire>),
  deal() {},
  prepare() {},
  idle: () => true,
  client: () => local(),
  server: (gate, context) =>
    local(() => {
      const kept = lasting(context, gate.inputs[0]!);
      context.wires.set(gate.output, kept);
      context.states.set(gate.name, kept);
      if (gate.replaces !== undefined) context.states.delete(gate.replaces);
    }),
  cost: () => noCost,
};
