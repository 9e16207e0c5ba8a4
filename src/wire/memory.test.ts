// What only the memory pair does; the rest is in transport.test.ts.

import { expect, test } from "vitest";
import { memoryPair } from "./memory.ts";

/** One turn of the event loop: every microtask has run. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("nothing is delivered inside a call", async () => {
  const [a, b] = memoryPair();
  const got: Uint8Array[] = [];
  b.onFrame((frame) => got.push(frame));
  void a.send(new Uint8Array(1));
  expect(got).toHaveLength(0);
  await settle();
  expect(got).toHaveLength(1);
});

test("a paused side learns of the end after the frames before it", async () => {
  const [a, b] = memoryPair();
  const events: string[] = [];
  b.onFrame(() => events.push("frame"));
  b.onClose(() => events.push("end"));
  b.pause();
  void a.send(new Uint8Array(1));
  void a.close();
  await settle();
  expect(events).toEqual([]);
  b.resume();
  await settle();
  expect(events).toEqual(["frame", "end"]);
});

test("a send waits while too much is undelivered", async () => {
  const [a, b] = memoryPair({ highWaterBytes: 10 });
  b.pause();
  b.onFrame(() => {});
  await a.send(new Uint8Array(10));
  let resolved = false;
  const second = Promise.resolve(a.send(new Uint8Array(1))).then(() => {
    resolved = true;
  });
  await settle();
  expect(resolved).toBe(false);
  b.resume();
  await second;
});

test("a cut rejects waiting sends and loses what was under way", async () => {
  const [a, b] = memoryPair({ highWaterBytes: 10 });
  const got: Uint8Array[] = [];
  b.onFrame((frame) => got.push(frame));
  b.pause();
  const waiting = a.send(new Uint8Array(11));
  const ends = [a, b].map((end) => new Promise((resolve) => end.onClose(resolve)));
  b.cut();
  await expect(waiting).rejects.toMatchObject({ code: "E_PEER_GONE" });
  for (const reason of await Promise.all(ends)) {
    expect(reason).toMatchObject({ code: "E_PEER_GONE" });
  }
  expect(got).toHaveLength(0);
});
