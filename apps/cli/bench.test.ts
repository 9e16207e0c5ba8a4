// `mergen bench`: on small models, that reports have the stated keys, that bytes are those of the
// plan, and what wrong options are told. How fast anything is, no test says.

import { readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BenchResult } from "../../bench/runner.ts";
import type { SessionsReport } from "../../bench/sessions.ts";
import { expectError, jsonLines, mergen, type TestFolder, testFolder } from "../../test/cli.ts";

let folder: TestFolder;
let work: string[];
beforeAll(async () => {
  folder = await testFolder();
  work = ["--work", folder.path("models")];
});
afterAll(() => folder.dispose());

const tiny = ["--shape", "tiny", "--positions", "24"];

interface Online {
  readonly onlineSeconds: number;
  readonly onlineBytes: number;
  readonly roundTrips: number;
  readonly offlineSeconds: number;
  readonly offlineBytes: number;
}

interface Step {
  readonly prompt: Online;
  readonly perToken: Online;
  readonly total: { roundTrips: number; bytes: number };
  readonly floor?: { seconds: number; ratio: number };
  readonly totalSeconds: number;
  readonly slowdown: number;
  readonly plaintextSecondsPerToken: number;
  readonly machine: Record<string, unknown>;
}

interface Planned {
  readonly online: { roundTrips: number; clientSentBytes: number; serverSentBytes: number };
  readonly offline: Record<string, number>;
}

interface Sessions {
  readonly shape: string;
  readonly alone: SessionsReport;
  readonly together: SessionsReport;
  readonly ratio: number;
  readonly machine: { readonly kind: string };
}

const step = (...args: string[]) =>
  mergen(["bench", "step", ...tiny, ...work, "--warm-up", "2", "--json", ...args]);

describe("bench step", () => {
  it("prints the stated keys, and the bytes and round trips of the plan", async () => {
    const size = ["--prompt-tokens", "3", "--tokens", "5"];
    const [measured] = jsonLines<Step>(await step(...size)) as [Step];
    expect(measured).toMatchObject({
      shape: "tiny",
      recipe: "merge",
      norm: "layernorm",
      promptTokens: 3,
      tokens: 5,
      network: "loopback",
      kernels: expect.any(String),
    });
    expect(measured).not.toHaveProperty("floor");
    for (const key of ["onlineSeconds", "onlineBytes", "roundTrips"] as const) {
      expect(measured.prompt[key]).toBeGreaterThan(0);
      expect(measured.perToken[key]).toBeGreaterThan(0);
    }
    expect(Object.keys(measured.machine).sort()).toEqual([
      "commit",
      "instructionSets",
      "kind",
      "memoryBytes",
      "node",
      "system",
    ]);
    const { perToken, plaintextSecondsPerToken, slowdown } = measured;
    expect(slowdown).toBe(perToken.onlineSeconds / plaintextSecondsPerToken);

    const version = JSON.parse(await readFile("package.json", "utf8")).version;
    const model = `${folder.path("models")}/tiny-merge-layernorm-24-${version}-2`;
    const asked = ["--model", model, "--prompt-positions", "3", "--max-tokens", "5"];
    const [plan] = jsonLines<Planned>(await mergen(["plan", ...asked, "--json"])) as [Planned];
    const { online, offline } = plan;
    expect(measured.total).toEqual({
      roundTrips: online.roundTrips,
      bytes: online.clientSentBytes + online.serverSentBytes,
    });
    const dealt = offline.dealerToServerBytes! + offline.dealerToClientBytes!;
    const prepared = measured.prompt.offlineBytes + 4 * perToken.offlineBytes;
    expect(prepared).toBeCloseTo(dealt + offline.clientToServerBytes!, 3);
    // The prompt pass and all tokens after it make up the whole.
    const rest = measured.total.bytes - measured.prompt.onlineBytes;
    expect(perToken.onlineBytes).toBeCloseTo(rest / 4, 6);
  });

  it("knows what an emulated network alone takes, and other norms", async () => {
    const args = ["--network", "lan", "--norm", "affine", "--tokens", "3"];
    const [measured] = jsonLines<Step>(await step(...args)) as [Step];
    const { total, totalSeconds, floor } = measured;
    const seconds = total.roundTrips * 2 * 0.5e-3 + (8 * total.bytes) / 1e9;
    expect(floor!.seconds).toBeCloseTo(seconds, 12);
    expect(floor!.ratio).toBeCloseTo(totalSeconds / seconds, 12);
    expect(measured).toMatchObject({ norm: "affine", network: "lan" });
  });

  it("makes a prompt for a model of slots, and fits the text to its positions", async () => {
    const slots = ["bench", "step", "--model", "models/e2e-merge", "--warm-up", "0"];
    const [measured] = jsonLines<Step>(await mergen([...slots, "--json"])) as [Step];
    expect(measured).toMatchObject({ model: "e2e-merge", promptTokens: 15, tokens: 32 });
    expect(measured).not.toHaveProperty("shape");
    const other = await mergen([...slots, "--prompt-tokens", "4"]);
    expectError(other, "E_USAGE", /are of slots and have 15 tokens/);
  });

  it("prints a table without --json", async () => {
    const args = ["bench", "step", ...tiny, ...work, "--tokens", "2", "--warm-up", "0"];
    const { status, stdout, stderr } = await mergen(args);
    expect(status).toBe(0);
    expect(stdout).toBe("");
    expect(stderr).toMatch(/^a token, online \(median\) +[\d.]+ ms$/m);
  });

  it("says what is wrong with an option", async () => {
    expectError(await step("--tokens", "1"), "E_USAGE", /integer of at least 2/);
    expectError(await step("--network", "moon"), "E_USAGE", /loopback, lan, wan/);
    const unknown = await mergen(["bench", "step", "--shape", "gpt9"]);
    expectError(unknown, "E_USAGE", /Allowed choices are distilgpt2/);
    const long = await step("--prompt-tokens", "40");
    expectError(long, "E_USAGE", /takes prompts of 1 to \d+ tokens/);
    expectError(await step("--tokens", "64"), "E_PROMPT", /the model has 24: ask for fewer/);
    expectError(await step("--model", folder.path("none")), "E_MODEL", /none/);
  });
});

describe("bench sessions", () => {
  it("prints one client alone, and several together", async () => {
    const args = [...tiny, ...work, "--clients", "2", "--tokens", "3", "--json"];
    const run = await mergen(["bench", "sessions", ...args]);
    const [{ alone, together, ratio, shape, machine }] = jsonLines<Sessions>(run) as [Sessions];
    expect([alone.clients, together.clients, shape]).toEqual([1, 2, "tiny"]);
    expect(alone.tokensPerSecond).toBeCloseTo(3 / alone.seconds, 9);
    expect(together.tokensPerSecond).toBeCloseTo(6 / together.seconds, 9);
    expect(ratio).toBe(together.tokensPerSecond / alone.tokensPerSecond);
    expect(machine.kind).toMatch(/cores$/);
  });

  it("says what is wrong with an option", async () => {
    const none = await mergen(["bench", "sessions", "--clients", "0"]);
    expectError(none, "E_USAGE", /integer of at least 1/);
  });
});

describe("bench run", () => {
  /** All rows by name. */
  const rowsOf = ({ groups }: BenchResult) =>
    new Map(groups.flatMap(({ rows }) => rows.map((row) => [row.name, row])));

  it("measures a token end to end, into JSON and Markdown", async () => {
    const out = folder.path("result.json");
    const args = ["--quick", "--shape", "tiny", "--remark", "a test", "--out", out];
    const run = await mergen(["bench", "run", ...args, "--only", "token", ...work]);
    expect(run.stderr).toMatch(/^token: /m);
    expect(run.status).toBe(0);
    const result: BenchResult = JSON.parse(await readFile(out, "utf8"));
    expect(await readFile(folder.path("result.md"), "utf8")).toBe(run.stdout);
    expect(result).toMatchObject({ quick: true, remark: "a test" });
    expect(result.groups.map(({ name }) => name)).toEqual(["limits", "token"]);
    const rows = rowsOf(result);
    for (const { n, low, median, high } of rows.values()) {
      expect(n).toBeGreaterThan(0);
      expect(low).toBeLessThanOrEqual(median);
      expect(median).toBeLessThanOrEqual(high);
    }
    const clear = rows.get("tiny: in the clear, a token")!;
    const online = rows.get("tiny: online, a token")!;
    expect(online.n).toBe(16);
    expect(online.reference!.ratio).toBe(online.median / online.reference!.value);
    expect(online.reference!.value).toBeCloseTo(clear.median, 9);
    expect(rows.get("tiny: most memory, server")!.median).toBeGreaterThan(10);
  });

  it("measures where time goes, of both sides", async () => {
    const args = ["--quick", "--shape", "tiny", "--only", "flame", "--json", ...work];
    const [result] = jsonLines<BenchResult>(await mergen(["bench", "run", ...args]));
    const rows = rowsOf(result!);
    for (const side of ["client", "server"]) {
      for (const part of ["waiting for the peer", "sending", "checksums", "elementwise"]) {
        expect(rows.has(`${side}: ${part}`), `${side}: ${part}`).toBe(true);
      }
    }
    // Who holds the weights multiplies by them.
    expect(rows.has("server: products with int16 matrices")).toBe(true);
    expect(rows.has("client: products with int16 matrices")).toBe(false);
  });

  it("says what is wrong with an option", async () => {
    const run = (...args: string[]) => mergen(["bench", "run", ...args]);
    expectError(await run("--only", "everything"), "E_USAGE", /Allowed choices are limits/);
    expectError(await run("--only", "anchors"), "E_USAGE", /needs --data/);
    expectError(await run("--data", "x.jsonl"), "E_USAGE", /goes with --only anchors/);
    expectError(await run("--out", "result.txt"), "E_USAGE", /ends in \.json/);
  });

  it("measures kernels against limits", async () => {
    const finished = await mergen(["bench", "run", "--quick", "--only", "function-keys", "--json"]);
    const [{ groups }] = jsonLines<BenchResult>(finished) as [BenchResult];
    const keys = groups.find(({ name }) => name === "function-keys")!;
    expect(keys.rows.length).toBeGreaterThan(0);
    const limits = groups[0]!;
    const held = keys.rows.filter(({ reference }) => reference !== undefined);
    expect(held.length > 0).toBe(limits.rows.length > 0);
  });
});

describe("bench compare", () => {
  const row = { unit: "ms", better: "less", n: 9, low: 9, high: 11 };
  const result = (median: number, name = "a token") => ({
    format: "mergen-bench-1",
    machine: { kind: "one" },
    groups: [{ name: "token", rows: [{ ...row, name, median, low: median, high: median }] }],
  });
  const file = async (name: string, value: unknown) => {
    await writeFile(folder.path(name), JSON.stringify(value));
    return folder.path(name);
  };

  it("flags a regression, and fails for it if asked", async () => {
    const [before, after] = [await file("a.json", result(10)), await file("b.json", result(12))];
    const shown = await mergen(["bench", "compare", before, after]);
    expect(shown.status).toBe(0);
    expect(shown.stdout).toMatch(/^token: a token +10\.00 +12\.00 +1\.200 +worse$/m);
    const json = await mergen(["bench", "compare", before, after, "--strict", "--json"]);
    expect(json.status).toBe(1);
    expect(jsonLines(json)).toMatchObject([{ name: "token: a token", verdict: "worse" }]);
    const lenient = ["bench", "compare", before, after, "--strict", "--tolerance", "0.3"];
    expect((await mergen(lenient)).status).toBe(0);
    expect((await mergen(["bench", "compare", after, before, "--strict"])).status).toBe(0);
  });

  it("says what has no partner", async () => {
    const both = result(10);
    both.groups[0]!.rows.push(...result(3, "a prompt").groups[0]!.rows);
    const [one, two] = [await file("e.json", result(10)), await file("f.json", both)];
    const shown = await mergen(["bench", "compare", one, two]);
    expect(shown.stderr).toContain(`in ${two} alone: 1 figure\n  token: a prompt\nfigures in both`);
    expect(shown.stderr).not.toContain(`in ${one} alone`);
  });

  it("says what is wrong with the files", async () => {
    const [a, b] = [await file("c.json", result(1)), await file("d.json", result(1, "other"))];
    expectError(await mergen(["bench", "compare", a, b]), "E_DATA", /nothing in common/);
    const missing = await mergen(["bench", "compare", a, folder.path("none")]);
    expectError(missing, "E_DATA", /none cannot be read/);
  });
});
