import { describe, expect, test } from "vitest";
import { VirtualClock } from "./virtual-clock.ts";

describe("VirtualClock", () => {
  test("an hour passes at once, and only as far as it must", async () => {
    const clock = new VirtualClock();
    clock.setTimeout(() => {}, 3 * 3_600_000);
    await clock.run(clock.sleep(3_600_000));
    expect(clock.now()).toBe(3_600_000);
    expect(clock.pendingTimers).toBe(1);
  });

  test("timers fire by due time, then by age", async () => {
    const clock = new VirtualClock();
    const fired: string[] = [];
    clock.setTimeout(() => fired.push("late"), 20);
    clock.setTimeout(() => fired.push("first"), 10);
    clock.setTimeout(() => fired.push("second"), 10);
    const never = clock.setTimeout(() => fired.push("never"), 5);
    clock.clearTimeout(never);
    await clock.run(clock.sleep(30));
    expect(fired).toEqual(["first", "second", "late"]);
  });

  test("time stands still while anybody can go on", async () => {
    const clock = new VirtualClock();
    let work = 0;
    const busy = (async () => {
      for (; work < 10_000; work++) await Promise.resolve();
      return clock.now();
    })();
    const early = clock.sleep(1).then(() => work);
    expect(await clock.run(busy)).toBe(0);
    expect(await clock.run(early)).toBe(10_000);
  });

  test("time stands still while outside work is held", async () => {
    const clock = new VirtualClock();
    const outside = new Promise<string>((resolve) => setTimeout(() => resolve("done"), 20));
    const timeout = clock.sleep(1).then(() => "timeout");
    expect(await clock.run(Promise.race([clock.hold(outside), timeout]))).toBe("done");
  });

  test("a deadlock is an error, a rejection is passed on", async () => {
    const clock = new VirtualClock();
    const stuck = clock.run(new Promise(() => {}));
    await expect(stuck).rejects.toMatchObject({ code: "E_INTERNAL" });
    await expect(clock.run(Promise.reject(new Error("mine")))).rejects.toThrow("mine");
  });
});
