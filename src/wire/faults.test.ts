import { describe, expect, test } from "vitest";
import { type ErrorCode, MergenError } from "../errors.ts";
import { Channel } from "./channel.ts";
import { allFaults, type FaultPlan, faultyPair, randomFaultPlan, seededRandom } from "./faults.ts";
import { VirtualClock } from "./virtual-clock.ts";

const timeoutMs = 30_000;

function setUp(plan: Partial<FaultPlan> & Pick<FaultPlan, "fault">, seed = 1) {
  const clock = new VirtualClock();
  const full: FaultPlan = { direction: "aToB", atFrame: 1, ...plan };
  const pair = faultyPair({ clock, plan: full, seed });
  return { clock, pair, full };
}

/** Sends four marked frames from a to b and lists what came, and when. */
async function observe(plan: Partial<FaultPlan> & Pick<FaultPlan, "fault">, seed = 1) {
  const { clock, pair } = setUp(plan, seed);
  const [a, b] = pair.transports;
  const got: { frame: number[]; atMs: number }[] = [];
  const ends: (ErrorCode | undefined)[] = [];
  b.onFrame((bytes) => got.push({ frame: [...bytes], atMs: clock.now() }));
  for (const end of pair.transports) end.onClose((reason) => ends.push(reason?.code));
  const sends = [0, 1, 2, 3].map((n) => a.send(Uint8Array.from([n, n])));
  await clock.run(Promise.allSettled(sends));
  await clock.run(clock.sleep(5000));
  return { frames: got.map(({ frame }) => frame[0]), got, ends, pair };
}

describe("each fault does what it says", () => {
  test("drop", async () => {
    expect((await observe({ fault: "drop" })).frames).toEqual([0, 2, 3]);
  });

  test("duplicate", async () => {
    expect((await observe({ fault: "duplicate" })).frames).toEqual([0, 1, 1, 2, 3]);
  });

  test("reorder", async () => {
    expect((await observe({ fault: "reorder" })).frames).toEqual([0, 2, 1, 3]);
  });

  test("reorder of the last frame makes it late", async () => {
    const { got } = await observe({ fault: "reorder", atFrame: 3, delayMs: 70 });
    expect(got.map(({ frame, atMs }) => [frame[0], atMs])).toEqual([
      [0, 0],
      [1, 0],
      [2, 0],
      [3, 70],
    ]);
  });

  test("delay holds back what follows, in order", async () => {
    const { got } = await observe({ fault: "delay", delayMs: 40 });
    expect(got.map(({ frame, atMs }) => [frame[0], atMs])).toEqual([
      [0, 0],
      [1, 40],
      [2, 40],
      [3, 40],
    ]);
  });

  test("corrupt flips one bit, the same one for the same seed", async () => {
    const [one, again, other] = await Promise.all(
      [5, 5, 6].map(async (seed) => (await observe({ fault: "corrupt" }, seed)).got[1].frame),
    );
    const bits = (one[0] ^ 1).toString(2) + (one[1] ^ 1).toString(2);
    expect(bits.replaceAll("0", "")).toBe("1");
    expect(again).toEqual(one);
    expect(other).not.toEqual(one);
  });

  test("cut loses the frame and ends both sides", async () => {
    const { frames, ends, pair } = await observe({ fault: "cut" });
    expect(frames).not.toContain(1);
    expect(ends).toEqual(["E_PEER_GONE", "E_PEER_GONE"]);
    await expect(pair.transports[1].send(new Uint8Array(1))).rejects.toMatchObject({
      code: "E_PEER_GONE",
    });
  });

  test("the other direction is untouched", async () => {
    const { frames, pair } = await observe({ fault: "drop", direction: "bToA" });
    expect(frames).toEqual([0, 1, 2, 3]);
    expect(pair.fired()).toBe(false);
    expect(pair.frames()).toEqual({ aToB: 4, bToA: 0 });
  });
});

/** A conversation of five rounds; both sides check every byte. */
async function converse(plan: FaultPlan, seed: number) {
  const clock = new VirtualClock();
  const pair = faultyPair({ clock, plan, seed });
  const [a, b] = pair.transports.map((end) => new Channel(end, { clock }));
  const side = async (channel: Channel, first: boolean) => {
    for (let round = 0; round < 5; round++) {
      const own = new Uint8Array(50).fill(round);
      if (first) await channel.send("online", own);
      const { payload } = await channel.receive({ timeoutMs, kinds: ["online"] });
      if (payload.length !== 50 || payload.some((byte) => byte !== round)) {
        throw new Error("wrong bytes came through");
      }
      if (!first) await channel.send("online", own);
    }
    await channel.close();
    return "right";
  };
  const results = await clock.run(Promise.allSettled([side(a, true), side(b, false)]));
  await clock.run(Promise.all([a.close(), b.close()]));
  return { results, fired: pair.fired(), lastMs: clock.now() };
}

function checkOutcome(results: PromiseSettledResult<string>[], context: string): boolean {
  for (const result of results) {
    if (result.status === "fulfilled") continue;
    expect(result.reason, context).toBeInstanceOf(MergenError);
    const { code } = result.reason as MergenError;
    expect(["E_FRAME", "E_TIMEOUT", "E_PEER_GONE"], context).toContain(code);
  }
  return results.every((result) => result.status === "fulfilled");
}

describe("a conversation over a faulty network", () => {
  const cases = allFaults.flatMap((fault) =>
    (["aToB", "bToA"] as const).map((direction) => ({ fault, direction })),
  );

  test.each(cases)("$fault $direction: the right answer or a named error", async (one) => {
    let clean = false;
    for (let atFrame = 0; !clean; atFrame++) {
      expect(atFrame).toBeLessThan(20);
      const plan: FaultPlan = { ...one, atFrame };
      const { results, fired } = await converse(plan, atFrame);
      const right = checkOutcome(results, JSON.stringify(plan));
      clean = !fired;
      if (clean || one.fault === "delay") expect(right).toBe(true);
    }
  });

  test("random plans, with long delays", async () => {
    for (let seed = 0; seed < 200; seed++) {
      const plan = randomFaultPlan(seed, 8);
      const { results } = await converse(plan, seed);
      checkOutcome(results, `seed ${seed}: ${JSON.stringify(plan)}`);
    }
  });

  test("the same seed gives the same run", async () => {
    for (const seed of [1, 7, 42]) {
      const plan = randomFaultPlan(seed, 8);
      expect(await converse(plan, seed)).toEqual(await converse(plan, seed));
    }
  });
});

test("seededRandom repeats itself and stays in [0, 1)", () => {
  const [one, two] = [seededRandom(9), seededRandom(9)];
  const drawn = Array.from({ length: 1000 }, () => one());
  expect(Array.from({ length: 1000 }, () => two())).toEqual(drawn);
  expect(drawn.every((x) => x >= 0 && x < 1)).toBe(true);
  expect(Math.abs(drawn.reduce((sum, x) => sum + x, 0) / 1000 - 0.5)).toBeLessThan(0.05);
});
