// That a profile counts all time once, and changes nothing of what it watches.

import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Channel, crc32c, loadRingKernels } from "../src/index.ts";
import { memoryPair } from "../src/wire/memory.ts";
import { wordsOf } from "../test/kernel-data.ts";
import { Profile, WAITING } from "./profile.ts";

describe.each(["wasm", "reference"] as const)("profiled %s kernels", (name) => {
  it("give the same words, and are counted by kind", async () => {
    const plain = await loadRingKernels({ kernels: name, threads: 1 });
    const profile = new Profile();
    const counted = profile.kernels(plain);
    expect(counted.name).toBe(plain.name);
    expect(counted.functionPrgs).toEqual(plain.functionPrgs);
    const [a, b] = [wordsOf(1, 12), wordsOf(2, 12)];
    const results = [plain, counted].map((kernels) => {
      const [sum, out] = [new BigUint64Array(12), new BigUint64Array(4)];
      kernels.add(sum, a, b);
      const matrix = kernels.loadRing(b, 3, 4);
      kernels.matmul(out, a.subarray(0, 3), matrix);
      matrix.free();
      return [sum, out, kernels.dcfKeyBytes({ domainBits: 8, words: 1 })];
    });
    expect(results[1]).toEqual(results[0]);
    expect(Object.keys(profile.times()).sort()).toEqual([
      "elementwise",
      "function keys",
      "loading matrices",
      "products with ring matrices",
    ]);
    profile.reset();
    expect(profile.times()).toEqual({});
    counted.close();
  });
});

describe("a watched channel", () => {
  /** A checksum that takes at least so long. */
  const slow = (ms: number) => (bytes: Uint8Array, previous: number) => {
    const end = performance.now() + ms;
    while (performance.now() < end);
    return crc32c(bytes, previous);
  };

  it("counts waiting, sending and checksums apart from each other", async () => {
    const profile = new Profile();
    const [near, far] = memoryPair();
    const here = profile.watch(new Channel(near, { crc32c: profile.checksum(slow(5)) }));
    const there = new Channel(far);
    const started = performance.now();
    for (let i = 0; i < 3; i++) {
      const waiting = here.receive({ timeoutMs: 10_000 });
      await delay(10);
      await there.send("online", new Uint8Array(8));
      expect((await waiting).payload).toEqual(new Uint8Array(8));
    }
    const draft = here.allocate("online", 16);
    draft.payload[0] = 7;
    await draft.send();
    expect((await there.receive({ timeoutMs: 10_000 })).payload[0]).toBe(7);
    const whole = performance.now() - started;
    const times = profile.times();
    expect(Object.keys(times).sort()).toEqual(["checksums", "sending", WAITING]);
    // Three frames came and one went.
    expect(times.checksums).toBeGreaterThanOrEqual(20);
    expect(times[WAITING]).toBeGreaterThan(24);
    // Each moment is in one entry at most.
    const sum = Object.values(times).reduce((total, each) => total + each, 0);
    expect(sum).toBeLessThanOrEqual(whole);
    await Promise.all([here.close(), there.close()]);
  });
});
