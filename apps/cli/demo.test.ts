// The demonstration: two lines of one text, and no process left however it ends.

import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Generation } from "../../src/index.ts";
import { jsonLines, Running, type TestFolder, testFolder } from "../../test/cli.ts";

let folder: TestFolder;
let args: string[];

beforeAll(async () => {
  folder = await testFolder();
  const model = await folder.model("model", { bucket: 8, maxTokens: 160, chunk: 1, anchor: 1 });
  args = ["demo", "--model", model, "--input", "the pub"];
});

afterAll(() => folder.dispose());

/** Nothing of the group may live on; a killed parent's children need a moment to notice. */
async function expectGroupGone(demo: Running, withinMs: number): Promise<void> {
  const since = performance.now();
  while (demo.groupLives() && performance.now() - since < withinMs) await delay(50);
  const left = demo.groupLives();
  if (left) demo.signal("SIGKILL");
  expect(left, "a process was left").toBe(false);
}

describe("mergen demo", () => {
  it("prints the secure and the float generation and ends", async () => {
    const demo = new Running([...args, "--max-tokens", "4", "--json"], { group: true });
    const finished = await demo.finished;
    const lines = jsonLines<Generation>(finished);
    expect(lines.map(({ mode }) => mode)).toEqual(["secure", "float"]);
    expect(lines.map(({ input }) => input)).toEqual(["the pub", "the pub"]);
    expect(finished.status).toBe(0);
    await expectGroupGone(demo, 0);
  });

  it.each([
    ["early", () => true],
    ["when its processes are ready", ({ stderr }: Running) => stderr !== ""],
    ["while it generates", ({ stdout }: Running) => stdout !== ""],
  ])("ends on Ctrl-C %s", async (when, ready) => {
    const demo = new Running(args, { group: true });
    await demo.until(ready);
    if (when === "early") await delay(500);
    const since = performance.now();
    demo.signal("SIGINT");
    expect((await demo.finished).status).toBe(130);
    expect(performance.now() - since).toBeLessThan(6000);
    await expectGroupGone(demo, 0);
  });

  it("leaves no process when it is killed", async () => {
    const demo = new Running(args, { group: true });
    await demo.until(({ stdout }) => stdout !== "");
    demo.child.kill("SIGKILL");
    await expectGroupGone(demo, 8000);
  });
});
