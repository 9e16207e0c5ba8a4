import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import type { Exchange, Online } from "../gate/gate.ts";
import { decodeItems, encodeItems } from "./items.ts";
import { type Job, Scheduler } from "./scheduler.ts";

/** A job that follows a script; `done` notes its number when it has ended. */
function scripted(
  gate: number,
  script: readonly Exchange[],
  options: { ready?: () => boolean; done?: number[]; got?: Uint8Array[]; segment?: number } = {},
): Job {
  return {
    segment: options.segment ?? 0,
    gate,
    ready: options.ready ?? (() => true),
    *start(): Online {
      for (const step of script) {
        const answer = yield step;
        if ("receive" in step) options.got?.push(answer);
      }
      options.done?.push(gate);
    },
  };
}

const send = (...bytes: number[]): Exchange => ({ send: Uint8Array.from(bytes) });
const receive = (count: number): Exchange => ({ receive: count });
const itemsOf = (payload: Uint8Array | undefined) =>
  decodeItems(payload ?? new Uint8Array()).map(({ gate, bytes }) => [gate, ...bytes]);

describe("the scheduler", () => {
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

  it("runs a gate as soon as what it needs exists, also within one step", () => {
    const done: number[] = [];
    const scheduler = new Scheduler();
    scheduler.add([
      scripted(1, [receive(2)], { done }),
      scripted(2, [], { ready: () => done.includes(1), done }),
      scripted(3, [], { ready: () => done.includes(2), done }),
    ]);
    scheduler.advance();
    expect(done).toEqual([]);
    scheduler.deliver(encodeItems([{ segment: 0, gate: 1, bytes: Uint8Array.of(5, 6) }]));
    scheduler.advance();
    expect(done).toEqual([1, 2, 3]);
    expect(scheduler.done).toBe(true);
  });

  it("looks at the gates of a segment from when its first one can run", () => {
    const done: number[] = [];
    const looks = [0, 0];
    const scheduler = new Scheduler();
    scheduler.add([scripted(1, [receive(1), receive(1)], { done })]);
    const later = (gate: number, ready: () => boolean) =>
      scripted(gate, [], { ready, done, segment: 1 });
    scheduler.add([
      later(2, () => ++looks[0]! > 0 && done.includes(1)),
      later(3, () => ++looks[1]! > 0 && done.includes(2)),
    ]);
    scheduler.advance();
    const answer = encodeItems([{ segment: 0, gate: 1, bytes: Uint8Array.of(1) }]);
    scheduler.deliver(answer);
    scheduler.advance();
    expect([done, looks[1]]).toEqual([[], 0]);
    scheduler.deliver(answer);
    scheduler.advance();
    expect(done).toEqual([1, 2, 3]);
    expect(looks[1]).toBe(1);
    expect(scheduler.done).toBe(true);
  });

  it("refuses two gates of one number", () => {
    const scheduler = new Scheduler();
    scheduler.add([scripted(1, [receive(1)]), scripted(1, [receive(1)])]);
    errorOf("E_INTERNAL", () => scheduler.advance());
  });

  it("keeps messages for gates that come later, in order", () => {
    const got: Uint8Array[] = [];
    const scheduler = new Scheduler();
    const early = (value: number) => ({ segment: 0, gate: 1, bytes: Uint8Array.of(value) });
    scheduler.deliver(encodeItems([early(1), early(2)]));
    expect(scheduler.unclaimed).toBe(true);
    scheduler.add([scripted(1, [receive(1), receive(1)], { got })]);
    scheduler.advance();
    expect(got.map((bytes) => bytes[0])).toEqual([1, 2]);
    expect([scheduler.done, scheduler.unclaimed]).toEqual([true, false]);
  });

  it("tells the gates of segments apart", () => {
    const got: Uint8Array[] = [];
    const scheduler = new Scheduler();
    scheduler.add([scripted(1, [receive(1)], { got, segment: 7 })]);
    scheduler.deliver(encodeItems([{ segment: 8, gate: 1, bytes: Uint8Array.of(1) }]));
    scheduler.advance();
    expect([scheduler.done, scheduler.unclaimed]).toEqual([false, true]);
  });

  it("refuses a message of another length than its gate waits for", () => {
    for (const length of [0, 1, 3]) {
      const scheduler = new Scheduler();
      scheduler.add([scripted(1, [receive(2)])]);
      scheduler.advance();
      scheduler.deliver(encodeItems([{ segment: 0, gate: 1, bytes: new Uint8Array(length) }]));
      errorOf("E_PROTOCOL", () => scheduler.advance());
    }
  });

  it("refuses what is no list of items", () => {
    errorOf("E_FRAME", () => new Scheduler().deliver(new Uint8Array(5)));
  });
});
