// That an alarm rings, in order and never early; how late it is belongs to
// bench/groups/transport.ts.

import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Alarm } from "./alarm.ts";

let alarm: Alarm;
let rings: number[];
let wake: () => void;

beforeEach(async () => {
  rings = [];
  wake = () => {};
  alarm = await Alarm.start(() => {
    rings.push(performance.now());
    wake();
  });
});
afterEach(() => alarm.close());

function rung(): Promise<void> {
  return new Promise((resolve) => (wake = resolve));
}

test("rings once for each time, never early, whatever the distance", async () => {
  const distancesMs = [-1, 0, 0.02, 0.1, 0.2, 0.35, 0.7, 1.5, 4, 12, 0.3, 0.3];
  for (let i = 0; i < 200; i++) {
    const dueMs = performance.now() + distancesMs[i % distancesMs.length] * (1 + (i % 7) / 7);
    const ringing = rung();
    alarm.set(dueMs);
    expect(rings).toHaveLength(i);
    await ringing;
    expect(rings[i]).toBeGreaterThanOrEqual(dueMs);
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(rings).toHaveLength(200);
});

test("the last time set counts, sooner, later or never", async () => {
  for (const [first, second] of [
    [50, 2],
    [2, 20],
    [0.1, 10],
    [0.3, 0.5],
  ]) {
    const startMs = performance.now();
    const ringing = rung();
    alarm.set(startMs + first);
    alarm.set(startMs + second);
    await ringing;
    expect(rings.pop()).toBeGreaterThanOrEqual(startMs + second);
    expect(rings).toEqual([]);
  }
  alarm.set(performance.now() + 5);
  alarm.set(Number.POSITIVE_INFINITY);
  alarm.set(performance.now() + 0.05);
  alarm.set(Number.POSITIVE_INFINITY);
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(rings).toEqual([]);
});

test("does not ring after its end", async () => {
  alarm.set(performance.now() + 3);
  await alarm.close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(rings).toEqual([]);
});

test("a thread's first reading of the clocks is as right as later ones", async () => {
  const file = JSON.stringify(new URL("./alarm.ts", import.meta.url).href);
  const code = `
    const { parentPort } = require("node:worker_threads");
    import(${file}).then(({ monotonicOriginMs }) => {
      parentPort.postMessage([monotonicOriginMs(), monotonicOriginMs()]);
    });`;
  for (let i = 0; i < 3; i++) {
    const [[first, second]] = await once(new Worker(code, { eval: true, execArgv: [] }), "message");
    expect(Math.abs(first - second)).toBeLessThan(0.1);
  }
});
