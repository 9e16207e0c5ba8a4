// Whatever is wrong with a command line, a prompt or a file: the right code and exit status, a
// message that says what to do and does not quote the prompt, nothing on standard output.

import { spawnSync } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { cp, readFile, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ErrorCode } from "../../src/errors.ts";
import {
  expectError,
  launcher,
  mergen,
  type StartOptions,
  type TestFolder,
  testFolder,
  twoSlots,
} from "../../test/cli.ts";

const CANARY = "Xylo";

interface Case extends StartOptions {
  readonly args: readonly string[];
  readonly code: ErrorCode;
  readonly says: RegExp;
}

let folder: TestFolder;
let model: string;
let slots: string;
let file: string;
let closed: string;

beforeAll(async () => {
  folder = await testFolder();
  model = await folder.model("model", { bucket: 8 });
  slots = await folder.model("slots", { bucket: 12 }, () => ({ prompt: twoSlots }));
  file = await folder.file("plain-file", "");
  closed = `ws://127.0.0.1:${await unusedPort()}`;
});

afterAll(() => folder.dispose());

/** A copy of the model with a part of it spoilt. */
async function spoilt(name: string, spoil: (dir: string) => Promise<void>): Promise<string> {
  const dir = folder.path(name);
  await cp(model, dir, { recursive: true });
  await spoil(dir);
  return dir;
}

async function editJson(path: string, edit: (json: Record<string, unknown>) => void) {
  const json = JSON.parse(await readFile(path, "utf8"));
  edit(json);
  await writeFile(path, JSON.stringify(json));
}

function unusedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function check({ args, code, says, ...options }: Case): Promise<void> {
  const finished = await mergen([...args, "--json"], options);
  expectError(finished, code, says);
  expect(finished.stderr).not.toContain(CANARY);
  expect(finished.stderr, "no stack").not.toMatch(/^ +at /m);
}

const remote = (...args: string[]) => ["generate", "--server", closed, "--dealer", closed, ...args];
const run = (...args: string[]) => ["run", "--model", model, "--mode", "float", ...args];

describe.concurrent("a wrong command line", () => {
  const cases: [string, () => Omit<Case, "code">][] = [
    ["unknown flag", () => ({ args: run("--frob"), says: /unknown option '--frob'/ })],
    ["unknown command", () => ({ args: ["frob"], says: /unknown (command|option)/ })],
    ["no prompt", () => ({ args: run(), says: /give --input TEXT or --data FILE/ })],
    [
      "two sources of prompts",
      () => ({ args: run("--input", CANARY, "--data", file), says: /--input or --data, not both/ }),
    ],
    ["limit alone", () => ({ args: run("--input", CANARY, "--limit", "1"), says: /with --data/ })],
    [
      "no token",
      () => ({ args: run("--input", CANARY, "--max-tokens", "0"), says: /integer of at least 1/ }),
    ],
    [
      "greedy at a temperature",
      () => ({
        args: run("--input", CANARY, "--greedy", "--temperature", "1"),
        says: /conflict|cannot be used/,
      }),
    ],
    [
      "negative temperature",
      () => ({ args: run("--input", CANARY, "--temperature=-1"), says: /temperature/ }),
    ],
    [
      "a share of no probability, whatever the server",
      () => ({ args: remote("--input", CANARY, "--top-p", "0"), says: /topP/ }),
    ],
    ["mode", () => ({ args: ["run", "--mode", "quick"], says: /float, fixed, secure/ })],
    ["server without a dealer", () => ({ args: ["serve"], says: /--dealer/ })],
    [
      "key without certificate",
      () => ({
        args: ["serve", "--dealer", closed, "--tls-key", file],
        says: /--tls-cert go together/,
      }),
    ],
    [
      "missing key",
      () => ({
        args: ["dealer", "--tls-key", "none.pem", "--tls-cert", file],
        says: /--tls-key: none.pem/,
      }),
    ],
  ];
  it.each(cases)("%s", (_, make) => check({ ...make(), code: "E_USAGE" }));

  it("nothing at all shows the help", async () => {
    const { status, stdout, stderr } = await mergen([]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toContain("Usage: mergen");
  });
});

describe.concurrent("a model folder", () => {
  const args = (dir: string) => ["run", "--mode", "float", "--model", dir, "--input", CANARY];

  it("missing", () =>
    check({ args: args(folder.path("none")), code: "E_MODEL", says: /give a model folder/ }));

  it("config.json is no JSON", async () => {
    const dir = await spoilt("config", (at) => writeFile(join(at, "config.json"), "{"));
    await check({ args: args(dir), code: "E_MODEL", says: /config\.json: is not JSON.*copy/ });
  });

  it("config.json lacks sense", async () => {
    const dir = await spoilt("key", (at) =>
      editJson(join(at, "config.json"), (json) => {
        json.hiddenSize = "big";
      }),
    );
    await check({ args: args(dir), code: "E_MODEL", says: /config\.json: hiddenSize: / });
  });

  it("model.safetensors is cut off", async () => {
    const dir = await spoilt("weights", (at) => truncate(join(at, "model.safetensors"), 1000));
    await check({ args: args(dir), code: "E_MODEL", says: /model\.safetensors: / });
  });

  it("tokenizer.json is no JSON", async () => {
    const dir = await spoilt("torn", (at) => truncate(join(at, "tokenizer.json"), 100));
    await check({ args: args(dir), code: "E_MODEL", says: /tokenizer\.json: is not JSON.*copy/ });
  });

  it("tokenizer.json is no tokenizer", async () => {
    const dir = await spoilt("shape", (at) =>
      editJson(join(at, "tokenizer.json"), (json) => {
        json.model = { type: "BPE" };
      }),
    );
    const says = /tokenizer\.json: model.*use the file that the model came with/;
    await check({ args: args(dir), code: "E_TOKENIZER", says });
  });

  it("tokenizer.json of another model", async () => {
    const dir = await spoilt("foreign", (at) =>
      editJson(join(at, "tokenizer.json"), (json) => {
        (json.added_tokens as { id: number }[]).at(-1)!.id = 5000;
      }),
    );
    const says = /tokens, but config\.json's vocabSize is.*use the tokenizer that/;
    await check({ args: args(dir), code: "E_TOKENIZER", says });
  });

  it("of another recipe", async () => {
    for (const command of [run("--input", CANARY), ["plan", "--model", model]]) {
      const asked = (recipe: string) => [...command, "--recipe", recipe];
      const other = /is a merged module, vanilla needs an ordinary decoder's weights: adapt/;
      await check({ args: asked("vanilla"), code: "E_CONFIG", says: other });
      const none = /there is no recipe grill; take one of vanilla, mpcformer-2relu/;
      await check({ args: asked("grill"), code: "E_CONFIG", says: none });
    }
  });

  it("missing, for a demonstration and a server", async () => {
    const none = ["--model", folder.path("none")];
    const says = /give a model folder/;
    await check({ args: ["demo", ...none], code: "E_MODEL", says });
    await check({ args: ["serve", ...none, "--dealer", closed], code: "E_MODEL", says });
  });
});

describe.concurrent("a prompt", () => {
  const slotted = (input: string) => ["run", "--mode", "fixed", "--model", slots, "--input", input];
  const invalid = Uint8Array.of(0x61, 0xff, 0x62);
  const cases: [string, () => Omit<Case, "code">][] = [
    [
      "too long for its slot",
      () => ({
        args: slotted(`name[${CANARY.repeat(3)}]`),
        says: /slot name takes at most 6 tokens.*shorten/,
      }),
    ],
    [
      "with a slot that the model has not",
      () => ({
        args: slotted(`${CANARY}[a]`),
        says: /slot 1 .* is unknown; the model has name, area/,
      }),
    ],
    ["without slots", () => ({ args: slotted(CANARY), says: /name\[value\]/ })],
    [
      "too long for the model",
      () => ({
        args: run("--input", CANARY.repeat(3)),
        says: /takes 16 positions, the model has.*shorten/,
      }),
    ],
    [
      "with too many tokens to come",
      () => ({
        args: ["plan", "--model", model, "--input", CANARY, "--max-tokens", "99"],
        says: /ask for fewer tokens/,
      }),
    ],
    ["empty", () => ({ args: run("--input", ""), says: /empty; write one/ })],
    ["empty on standard input", () => ({ args: run("--input", "-"), says: /empty; write one/ })],
    [
      "not UTF-8 on standard input",
      () => ({ args: run("--input", "-"), stdin: invalid, says: /UTF-8; convert it/ }),
    ],
    [
      "not UTF-8 as an argument",
      () => ({ args: run(), shell: `exec "$@" --input $'a\\xffb'`, says: /UTF-8; convert it/ }),
    ],
    [
      "not UTF-8, of a demonstration",
      () => ({
        args: ["demo", "--model", model],
        shell: `exec "$@" --input $'a\\xffb'`,
        says: /UTF-8; convert it/,
      }),
    ],
    [
      "empty, of a demonstration",
      () => ({ args: ["demo", "--model", model, "--input", " "], says: /empty; write one/ }),
    ],
  ];
  it.each(cases)("%s", (_, make) => check({ ...make(), code: "E_PROMPT" }));
});

describe.concurrent("a file", () => {
  it("of data is missing", () =>
    check({
      args: run("--data", "none.jsonl"),
      code: "E_DATA",
      says: /none\.jsonl.*check the path/,
    }));

  it("of data has a bad line", async () => {
    const line = JSON.stringify({ input: "pub", ref: CANARY });
    const data = await folder.file("bad.jsonl", `${line}\n{"input": "${CANARY}"\n`);
    const says = /bad\.jsonl:2: is not JSON; mend or remove/;
    await check({ args: run("--data", data), code: "E_DATA", says });
  });

  it("of outputs has a bad line", async () => {
    const data = await folder.file("one.jsonl", `${JSON.stringify({ input: "a", ref: "b" })}\n`);
    const outputs = await folder.file("outputs.jsonl", `{"text": "a"}\n\n{"texts": "${CANARY}"}\n`);
    const args = ["eval", "--data", data, "--outputs", outputs];
    await check({ args, code: "E_DATA", says: /outputs\.jsonl:3: no field `text`/ });
  });

  it("of a training stage is missing or has an unknown key", async () => {
    const unknown = await folder.file(
      "stage.json",
      '{"stage": "tokenizer", "out": "none", "frob": 1}',
    );
    await check({ args: ["train", unknown], code: "E_CONFIG", says: /stage\.json.*frob/ });
    await check({ args: ["train", "none.json"], code: "E_CONFIG", says: /none\.json/ });
  });
});

describe.concurrent("a connection", () => {
  const generate = (...args: string[]) => ["generate", "--input", CANARY, ...args];

  it("nobody listens", async () => {
    const args = generate("--server", closed, "--dealer", closed);
    await check({ args, code: "E_PEER_GONE", says: /refused.*start the server first/ });
    const serve = ["serve", "--model", model, "--dealer", closed];
    await check({ args: serve, code: "E_PEER_GONE", says: /refused.*start the dealer first/ });
  });

  it("the address or the token is none", async () => {
    const args = generate("--server", "http://localhost", "--dealer", closed);
    await check({ args, code: "E_CONFIG", says: /ws:\/\/ or wss:\/\/; mend --server/ });
    const dealer = ["dealer", "--port", "0", "--token", "two words"];
    await check({ args: dealer, code: "E_CONFIG", says: /bearer token must be/ });
  });

  it("the port is out of range", () =>
    check({ args: ["dealer", "--port", "99999"], code: "E_CONFIG", says: /another --port/ }));
});

it("standard output on a full disk is a failure, not silence", () => {
  const full = openSync("/dev/full", "w");
  const args = [launcher, "plan", "--model", model, "--json"];
  const { status, stderr } = spawnSync(process.execPath, args, { stdio: ["ignore", full, "pipe"] });
  closeSync(full);
  expect(status).toBe(2);
  expect(String(stderr)).toMatch(/E_USAGE: standard output cannot be written: ENOSPC/);
});
