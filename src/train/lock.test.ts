// Locks of folders: what is refused, what is taken over, and that none stays. Processes that train
// at the same time are in apps/cli/train.test.ts.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { withLock } from "./lock.ts";

const root = mkdtempSync(join(tmpdir(), "mergen-lock-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let count = 0;
/** A folder, its lock file with some content, and what is told while it is asked for. */
function left(content?: string) {
  const folder = join(root, `run-${count++}`);
  const path = `${folder}.lock`;
  if (content !== undefined) writeFileSync(path, content);
  const told: string[] = [];
  const run = <T>(work: () => Promise<T>) => withLock(folder, (line) => told.push(line), work);
  return { folder, path, told, run };
}

/** A process that has ended. */
const gone = () => spawnSync(process.execPath, ["--version"]).pid;

describe("a folder's lock", () => {
  it("names this process while the work goes on, and goes with it, also when it fails", async () => {
    const { path, run, told } = left();
    const work = async () => JSON.parse(readFileSync(path, "utf8")).process;
    expect(await run(work)).toBe(process.pid);
    expect(existsSync(path)).toBe(false);
    const failing = run(() => Promise.reject(new Error("it broke")));
    await expect(failing).rejects.toThrow("it broke");
    expect(existsSync(path)).toBe(false);
    expect(told).toEqual([]);
  });

  it("refuses this process, too, while it has it", async () => {
    const { path, run } = left();
    await run(async () => {
      await rejectionOf("E_BUSY", () => run(async () => 1));
      expect(existsSync(path)).toBe(true);
    });
  });

  it("is another process's as long as that is there", async () => {
    const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const { path, run } = left(JSON.stringify({ process: other.pid }));
    const { message } = await rejectionOf("E_BUSY", () => run(async () => 1));
    expect(message).toContain(`process ${other.pid} trains into it`);
    expect(existsSync(path)).toBe(true);
    other.kill("SIGKILL");
    await new Promise((resolve) => other.once("exit", resolve));
    expect(await run(async () => 1)).toBe(1);
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    ["a process that has gone", () => JSON.stringify({ process: gone() })],
    ["nobody, since its writer was killed", () => ""],
    ["no process", () => '{"process": "x"}'],
    ["an earlier process of this one's number", () => JSON.stringify({ process: process.pid })],
  ])("is taken over from %s", async (_, content) => {
    const { run, told } = left(content());
    expect(await run(async () => 1)).toBe(1);
    expect(told).toEqual([expect.stringMatching(/takes over from process/)]);
  });

  it.runIf(process.platform === "linux")(
    "is taken over where another process has got the number",
    async () => {
      const { run } = left(JSON.stringify({ process: process.ppid, began: "another start 1" }));
      expect(await run(async () => 1)).toBe(1);
    },
  );

  it("is gone without where none can be written", async () => {
    const file = join(root, "a file");
    writeFileSync(file, "");
    const told: string[] = [];
    expect(
      await withLock(
        join(file, "out"),
        (line) => told.push(line),
        async () => 1,
      ),
    ).toBe(1);
    expect(told).toEqual([expect.stringMatching(/no lock against other processes/)]);
  });
});
