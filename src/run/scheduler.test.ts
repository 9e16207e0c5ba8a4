import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import type { Exchange, Online } from "../gate/gate.ts";
import { decodeItems, encodeItems } from "./items.ts";
import { type Job, Scheduler } from "./scheduler.ts";

/** Wires, or carried wires, that exist so far, and the gates that have ended, in order. */
class Trace {
  readonly wires = new Set<string>();
  readonly done: number[] = [];
  started = 0;
}

interface Script {
  readonly trace?: Trace;
  readonly segment?: number;
  /** Wires that it reads; its own is that of its number. */
  readonly inputs?: readonly number[];
  readonly loads?: string;
  readonly stores?: string;
  readonly patient?: boolean;
  readonly got?: Uint8Array[];
}

/** A job that follows a script, with its output written at the end. */
function scripted(gate: number, steps: readonly Exchange[], script: Script = {}): Job {
  const { trace = new Trace(), segment = 0, inputs = [], loads, stores, patient, got } = script;
  return {
    segment,
    gate,
    inputs,
    output: gate,
    loads,
    stores,
    patient,
    ready: () =>
      inputs.every((wire) => trace.wires.has(`${segment}:${wire}`)) &&
      (loads === undefined || trace.wires.has(loads)),
    *start(): Online {
      trace.started++;
      for (const step of steps) {
        const answer = yield step;
        if ("receive" in step) got?.push(answer);
      }
      trace.wires.add(`${segment}:${gate}`);
      if (stores !== undefined) trace.wires.add(stores);
      trace.done.push(gate);
    },
  };
}

const item = (gate: number, bytes: readonly number[], segment = 0) =>
  encodeItems([{ segment, gate, bytes: Uint8Array.from(bytes) }]);
const send = (...bytes: number[]): Exchange => ({ send: Uint8Array.from(bytes) });
const receive = (count: number): Exchange => ({ receive: count });
const itemsOf = (payload: Uint8Array | undefined) =>
  decodeItems(payload ?? new Uint8Array()).map(({ gate, bytes }) => [gate, ...bytes]);

describe("the scheduler", () => {
  it("hands a gate its items in order, whether they came early, late or together", () => {
    const steps = [send(1), receive(1), send(2), receive(1), send(3), receive(1)];
    for (const early of [0, 1, 2, 3]) {
      const got: Uint8Array[] = [];
      const scheduler = new Scheduler();
      const both = (from: number, to: number) =>
        encodeItems(
          [7, 8, 9].slice(from, to).map((byte) => {
            return { segment: 0, gate: 4, bytes: Uint8Array.of(byte) };
          }),
        );
      if (early > 0) scheduler.deliver(both(0, early));
      scheduler.add([scripted(4, steps, { got })]);
      scheduler.advance();
      const sent = itemsOf(scheduler.takeOutbox()).map(([, byte]) => byte);
      expect(sent).toEqual([1, 2, 3].slice(0, early + 1));
      if (early < 3) scheduler.deliver(both(early, 3));
      expect(got.map(([byte]) => byte)).toEqual([7, 8, 9]);
      expect(scheduler.done).toBe(true);
      expect(scheduler.unclaimed).toBe(false);
    }
  });

  it("puts everything that is ready at the same time into one message", () => {
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(1, [send(1), receive(1)]),
      scripted(2, [send(2), send(3), receive(1)]),
    ]);
    scheduler.advance();
    expect(itemsOf(scheduler.takeOutbox())).toEqual([
      [1, 1],
      [2, 2],
      [2, 3],
    ]);
    expect(scheduler.takeOutbox()).toBeUndefined();
    expect(scheduler.done).toBe(false);
  });

  it("runs a gate as soon as the wires that it reads exist, also within one step", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(3, [], { inputs: [2], trace }),
      scripted(2, [], { inputs: [1], trace }),
      scripted(1, [receive(2)], { trace }),
    ]);
    scheduler.advance();
    expect(trace.done).toEqual([]);
    scheduler.deliver(item(1, [5, 6]));
    expect(trace.done).toEqual([1, 2, 3]);
    expect(scheduler.done).toBe(true);
  });

  it("runs what a message lets run at once, and what can run without one when told to", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.add([scripted(1, [send(7)], { trace })]);
    expect([trace.started, scheduler.done]).toEqual([0, false]);
    scheduler.advance();
    expect(itemsOf(scheduler.takeOutbox())).toEqual([[1, 7]]);
    scheduler.add([scripted(2, [receive(1), send(8)], { trace })]);
    scheduler.deliver(item(2, [0]));
    expect(itemsOf(scheduler.takeOutbox())).toEqual([[2, 8]]);
    expect([trace.started, scheduler.done]).toEqual([2, true]);
  });

  it("wakes a gate that lacks two wires when the second is there, and starts it once", () => {
    for (const order of [
      [1, 2],
      [2, 1],
    ]) {
      const trace = new Trace();
      const scheduler = new Scheduler();
      scheduler.add([
        scripted(3, [send(3)], { inputs: [1, 2], trace }),
        scripted(1, [receive(1)], { trace }),
        scripted(2, [receive(1)], { trace }),
      ]);
      scheduler.advance();
      scheduler.deliver(item(order[0]!, [0]));
      expect(trace.done).toEqual([order[0]]);
      expect(scheduler.takeOutbox()).toBeUndefined();
      scheduler.deliver(item(order[1]!, [0]));
      expect(trace.done).toEqual([...order, 3]);
      expect(itemsOf(scheduler.takeOutbox())).toEqual([[3, 3]]);
      expect([trace.started, scheduler.done]).toEqual([3, true]);
    }
  });

  it("starts a gate once whose two wires come in one message, or that reads a wire twice", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(1, [receive(1)], { trace }),
      scripted(2, [receive(1)], { trace }),
      scripted(3, [send(3)], { inputs: [1, 2], trace }),
      scripted(4, [send(4)], { inputs: [2, 2], trace }),
      scripted(5, [], { inputs: [3, 4, 1], trace }),
    ]);
    scheduler.advance();
    const both = [1, 2].map((gate) => ({ segment: 0, gate, bytes: new Uint8Array(1) }));
    scheduler.deliver(encodeItems(both));
    expect(trace.done).toEqual([1, 2, 3, 4, 5]);
    expect([trace.started, scheduler.done]).toEqual([5, true]);
    expect(itemsOf(scheduler.takeOutbox())).toEqual([
      [3, 3],
      [4, 4],
    ]);
  });

  it("waits for one wire where the other exists already", () => {
    const trace = new Trace();
    trace.wires.add("0:1");
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(3, [], { inputs: [1, 2], trace }),
      scripted(2, [receive(1)], { trace }),
      scripted(4, [], { inputs: [1], trace }),
    ]);
    scheduler.advance();
    expect(trace.done).toEqual([4]);
    scheduler.deliver(item(2, [0]));
    expect(trace.done).toEqual([4, 2, 3]);
    expect(scheduler.done).toBe(true);
  });

  it("wakes a gate of a later segment by the name of a carried wire", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(0, [], { segment: 1, loads: "state.0", trace }),
      scripted(1, [], { segment: 1, loads: "state.1", trace }),
      scripted(2, [], { segment: 1, inputs: [0], trace }),
    ]);
    scheduler.add([
      scripted(5, [receive(1)], { trace }),
      scripted(6, [], { inputs: [5], stores: "state.0", trace }),
    ]);
    scheduler.advance();
    expect(trace.done).toEqual([]);
    scheduler.deliver(item(5, [0]));
    expect(trace.done).toEqual([5, 6, 0, 2]);
    expect(scheduler.done).toBe(false);
    scheduler.add([scripted(7, [], { stores: "state.1", trace })]);
    scheduler.advance();
    expect(trace.done).toEqual([5, 6, 0, 2, 7, 1]);
    expect(scheduler.done).toBe(true);
  });

  it("keeps a carried wire and a wire of the same number in a segment apart", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(2, [], { segment: 1, inputs: [1], trace }),
      scripted(3, [], { segment: 0, loads: "1", trace }),
      scripted(1, [], { segment: 0, trace }),
    ]);
    scheduler.advance();
    expect(trace.done).toEqual([1]);
  });

  it("keeps messages for gates that come later, or start later, in order", () => {
    const got: Uint8Array[] = [];
    const trace = new Trace();
    const scheduler = new Scheduler();
    const early = (value: number) => ({ segment: 0, gate: 1, bytes: Uint8Array.of(value) });
    scheduler.deliver(encodeItems([early(1), early(2)]));
    expect(scheduler.unclaimed).toBe(true);
    scheduler.add([
      scripted(1, [receive(1), receive(1), receive(1)], { inputs: [9], got, trace }),
      scripted(9, [receive(2)], { trace }),
    ]);
    scheduler.advance();
    scheduler.deliver(encodeItems([early(3)]));
    expect([got.length, scheduler.unclaimed]).toEqual([0, true]);
    scheduler.deliver(item(9, [0, 0]));
    expect(got.map((bytes) => bytes[0])).toEqual([1, 2, 3]);
    expect([scheduler.done, scheduler.unclaimed]).toEqual([true, false]);
  });

  it("tells the gates of segments apart, also at the greatest numbers", () => {
    const got: Uint8Array[] = [];
    const scheduler = new Scheduler();
    const last = 65_535;
    scheduler.add([scripted(last, [receive(1)], { got, segment: 7 })]);
    scheduler.deliver(item(last, [1], 8));
    scheduler.deliver(item(0, [2], 8));
    scheduler.advance();
    expect([scheduler.done, scheduler.unclaimed]).toEqual([false, true]);
    scheduler.add([scripted(last, [receive(1)], { got, segment: 8 })]);
    scheduler.deliver(item(last, [3], 7));
    expect(got.map((bytes) => bytes[0]).sort()).toEqual([1, 3]);
    expect([scheduler.done, scheduler.unclaimed]).toEqual([true, true]);
  });

  it("refuses a message of another length than its gate waits for, whichever came first", () => {
    for (const length of [0, 1, 3]) {
      const scheduler = new Scheduler();
      scheduler.add([scripted(1, [receive(2)])]);
      scheduler.advance();
      errorOf("E_PROTOCOL", () => scheduler.deliver(item(1, new Array(length).fill(0))));
      const late = new Scheduler();
      late.deliver(item(1, new Array(length).fill(0)));
      late.add([scripted(1, [receive(2)])]);
      errorOf("E_PROTOCOL", () => late.advance());
    }
  });

  it("refuses what is no list of items", () => {
    errorOf("E_FRAME", () => new Scheduler().deliver(new Uint8Array(5)));
  });

  it("refuses a message of no items, with which a peer could put off every timeout", () => {
    errorOf("E_PROTOCOL", () => new Scheduler().deliver(new Uint8Array(0)));
  });

  it("holds no more that runs ahead than it is allowed, however small the items are", () => {
    for (const bytes of [[], [0, 0, 0]]) {
      const scheduler = new Scheduler(1 << 12);
      const ahead = () => scheduler.deliver(item(9, bytes));
      for (let i = 0; i < 15; i++) ahead();
      errorOf("E_PROTOCOL", () => {
        ahead();
        ahead();
      });
    }
    // What a gate has claimed counts no more.
    const scheduler = new Scheduler(1 << 12);
    for (let gate = 0; gate < 100; gate++) {
      scheduler.deliver(item(gate, []));
      scheduler.add([scripted(gate, [receive(0)])]);
      scheduler.advance();
    }
    expect([scheduler.done, scheduler.unclaimed]).toEqual([true, false]);
  });

  it("says when a segment's last gate has ended, once, in the order of the ends", () => {
    const ended: number[] = [];
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.onSegment = (segment) => ended.push(segment);
    scheduler.add([
      scripted(1, [receive(1)], { segment: 4, trace }),
      scripted(2, [], { segment: 4, inputs: [1], trace }),
    ]);
    scheduler.add([scripted(1, [], { segment: 5, trace }), scripted(2, [], { segment: 5, trace })]);
    scheduler.advance();
    expect(ended).toEqual([5]);
    scheduler.deliver(item(1, [0], 4));
    expect([ended, scheduler.done]).toEqual([[5, 4], true]);
    // A gate of a segment may come when others of it have ended.
    scheduler.add([scripted(3, [], { segment: 4, trace })]);
    scheduler.advance();
    expect([ended, scheduler.done]).toEqual([[5, 4, 4], true]);
  });

  it("writes what is to be sent into memory of just its size, once", () => {
    const scheduler = new Scheduler();
    expect(scheduler.outboxBytes).toBe(0);
    scheduler.add([scripted(1, [send(1, 2)]), scripted(2, [send(), send(3)])]);
    scheduler.advance();
    const { outboxBytes } = scheduler;
    const memory = new Uint8Array(outboxBytes + 2).fill(255);
    scheduler.writeOutbox(memory.subarray(1, 1 + outboxBytes));
    expect(itemsOf(memory.subarray(1, 1 + outboxBytes))).toEqual([[1, 1, 2], [2], [2, 3]]);
    expect([memory[0], memory.at(-1), scheduler.outboxBytes]).toEqual([255, 255, 0]);
    expect(scheduler.takeOutbox()).toBeUndefined();
  });

  it("goes on with a patient gate when its message has left, and with what waits for it", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    const ended: number[] = [];
    scheduler.onSegment = (segment) => ended.push(segment);
    scheduler.add([
      scripted(1, [receive(1), send(1), receive(1)], { trace, patient: true }),
      scripted(2, [send(2)], { trace, patient: true }),
      scripted(3, [send(3)], { trace }),
      scripted(4, [], { inputs: [2], trace }),
    ]);
    scheduler.advance();
    scheduler.deliver(item(1, [0]));
    expect(itemsOf(scheduler.takeOutbox())).toEqual([
      [2, 2],
      [3, 3],
      [1, 1],
    ]);
    expect(trace.done).toEqual([3]);
    // What comes meanwhile is kept for it.
    scheduler.deliver(item(1, [0]));
    expect([trace.done, scheduler.done]).toEqual([[3], false]);
    scheduler.advancePatient();
    expect(trace.done).toEqual([3, 2, 1, 4]);
    expect([scheduler.done, scheduler.unclaimed, ended]).toEqual([true, false, [0]]);
    scheduler.advancePatient();
    expect(trace.started).toBe(4);
  });

  it("does not run a gate whose wire never comes", () => {
    const trace = new Trace();
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(1, [], { inputs: [8], trace }),
      scripted(2, [], { loads: "x", trace }),
    ]);
    scheduler.advance();
    scheduler.advance();
    expect([trace.started, scheduler.done]).toEqual([0, false]);
    expect(scheduler.takeOutbox()).toBeUndefined();
  });
});
