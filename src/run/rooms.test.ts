import { expect, it } from "vitest";
import { Rooms } from "./rooms.ts";

const MB = 1 << 20;

it("gives memory out again once it was given back, never before", () => {
  const rooms = new Rooms();
  const first = rooms.lease();
  const [a, b] = [first.room(3 * MB), first.room(3 * MB)];
  expect(a.buffer).not.toBe(b.buffer);
  expect([a.length, b.length]).toEqual([3 * MB, 3 * MB]);
  const second = rooms.lease();
  const c = second.room(3 * MB);
  expect([a.buffer, b.buffer]).not.toContain(c.buffer);
  first.end();
  const d = second.room(2 * MB);
  expect(d.length).toBe(2 * MB);
  expect([a.buffer, b.buffer]).toContain(d.buffer);
  first.end(); // nothing is given back twice
  const e = second.room(3 * MB);
  expect([a.buffer, b.buffer]).toContain(e.buffer);
  expect(e.buffer).not.toBe(d.buffer);
});

it("takes new memory for what is small, or would waste most of a buffer", () => {
  const rooms = new Rooms();
  const lease = rooms.lease();
  const large = lease.room(8 * MB);
  lease.end();
  expect(lease.room(2 * MB).buffer).not.toBe(large.buffer);
  expect(lease.room(100).length).toBe(100);
});

it("keeps half a gigabyte at the most", () => {
  const rooms = new Rooms();
  const lease = rooms.lease();
  const all = Array.from({ length: 5 }, () => lease.room(150 * MB).buffer);
  lease.end();
  const again = Array.from({ length: 5 }, () => lease.room(150 * MB).buffer);
  expect(again.filter((buffer) => all.includes(buffer))).toHaveLength(3);
});
