import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Link, type LinkOptions, networks } from "./link.ts";

describe("one chunk on a free link", () => {
  test.each<[LinkOptions, number, number, number]>([
    [networks.lan, 0, 0, 0.5],
    [networks.lan, 125_000, 1, 1.5], // 1 Mbit at 1 Gbit/s
    [networks.lan, 64_000, 0.512, 1.012],
    [networks.wan, 125_000, 10, 50],
    [networks.loopback, 2 ** 30, 0, 0],
    [{ delayMs: 7, bitsPerSecond: Number.POSITIVE_INFINITY }, 1000, 0, 7],
    [{ delayMs: 0, bitsPerSecond: 8000 }, 3, 3, 3],
  ])("%j, %d bytes", (options, byteLength, departMs, arriveMs) => {
    const passage = new Link(options).carry(1000, byteLength);
    expect(passage.departMs).toBeCloseTo(1000 + departMs, 9);
    expect(passage.arriveMs).toBeCloseTo(1000 + arriveMs, 9);
  });
});

test("chunks queue for the link, and are on their way together", () => {
  const link = new Link({ delayMs: 10, bitsPerSecond: 8000 }); // a byte a millisecond
  expect(link.carry(0, 3)).toEqual({ departMs: 3, arriveMs: 13 });
  expect(link.carry(1, 2)).toEqual({ departMs: 5, arriveMs: 15 }); // waits 2 ms
  expect(link.carry(5, 1)).toEqual({ departMs: 6, arriveMs: 16 }); // just free
  expect(link.carry(9, 4)).toEqual({ departMs: 13, arriveMs: 23 }); // idle since 6
  expect(link.carry(9, 0)).toEqual({ departMs: 13, arriveMs: 23 }); // an end comes after its bytes
  expect(link.carry(40, 0)).toEqual({ departMs: 40, arriveMs: 50 });
});

test("equals a link that sends byte by byte, whenever chunks come", () => {
  const chunk = fc.record({ gapMs: fc.nat(20), byteLength: fc.nat(30) });
  const options = { delayMs: fc.nat(50), bytesPerMs: fc.constantFrom(1, 2, 4) };
  fc.assert(
    fc.property(fc.array(chunk), fc.record(options), (chunks, { delayMs, bytesPerMs }) => {
      const link = new Link({ delayMs, bitsPerSecond: 8000 * bytesPerMs });
      let nowMs = 0;
      let busyUntilMs = 0;
      for (const { gapMs, byteLength } of chunks) {
        nowMs += gapMs;
        for (let i = 0; i < byteLength; i++) {
          busyUntilMs = Math.max(busyUntilMs, nowMs) + 1 / bytesPerMs;
        }
        const departMs = Math.max(busyUntilMs, nowMs);
        expect(link.carry(nowMs, byteLength)).toEqual({ departMs, arriveMs: departMs + delayMs });
      }
    }),
  );
});

test("what fills a link", () => {
  expect(new Link(networks.lan).capacityBytes).toBe(62_500);
  expect(new Link(networks.wan).capacityBytes).toBe(500_000);
  expect(new Link(networks.loopback).capacityBytes).toBe(0);
});

test.each([
  [-1, 1],
  [60_001, 1],
  [Number.NaN, 1],
  [1, 0],
  [1, -5],
  [1, Number.NaN],
])("a delay of %d ms at %d bit/s is refused", (delayMs, bitsPerSecond) => {
  const make = () => new Link({ delayMs, bitsPerSecond });
  expect(make).toThrow(expect.objectContaining({ code: "E_RANGE" }));
});
