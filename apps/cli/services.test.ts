// Dealer, server and client as three processes: that they cost what the plan says, refuse whom they
// should, survive what their peers do, end when they are told to, and log nothing private.

import { mkdir, readdir } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Channel, connectWebSocket, type Generation, listenWebSocket } from "../../src/index.ts";
import { expect as expectMessage, greet, tell } from "../../src/party/messages.ts";
import { PROTOCOL_VERSION } from "../../src/party/plan.ts";
import {
  expectError,
  jsonLines,
  listening,
  mergen,
  Running,
  type TestFolder,
  testFolder,
} from "../../test/cli.ts";
import { rejectionOf } from "../../test/errors.ts";

const CANARY = "Qzwvxk";
const SERVER_TOKEN = "server-token-canary";
const DEALER_TOKEN = "dealer-token-canary";
const tokens = { MERGEN_TOKEN: SERVER_TOKEN, MERGEN_DEALER_TOKEN: DEALER_TOKEN };
const TIMEOUT_MS = 10_000;

type Listening = Awaited<ReturnType<typeof listening>>;

let folder: TestFolder;
let model: string;
let dealer: Listening;
let server: Listening;
/** All that clients have said beside their results. */
let clientNotes = "";

beforeAll(async () => {
  folder = await testFolder();
  model = await folder.model("model", { bucket: 8, maxTokens: 160, chunk: 1, anchor: 1 });
  dealer = await listening(["dealer"], { env: { MERGEN_TOKEN: DEALER_TOKEN } });
  server = await serve();
});

afterAll(async () => {
  for (const process of [server, dealer]) process?.child.kill("SIGKILL");
  await folder?.dispose();
});

const serve = (...args: string[]) =>
  listening(["serve", "--model", model, "--dealer", dealer.url, ...args], { env: tokens });

const clientArgs = (...args: string[]) => [
  ...["generate", "--server", server.url, "--dealer", dealer.url, "--input", CANARY],
  ...args,
];

async function generate(args: readonly string[], env: Record<string, string> = tokens) {
  const finished = await mergen(args, { env });
  clientNotes += finished.stderr;
  return finished;
}

/** A generation that shows its text as it comes, and is long enough to be disturbed. */
async function started(args: readonly string[]): Promise<Running> {
  const client = new Running(args, { env: tokens });
  await client.until(({ stdout }) => stdout !== "");
  return client;
}

const shortRun = ["--max-tokens", "2", "--json"];

describe("three processes", () => {
  it.each([0, 3])("cost what plan and run say, at anchor %d", async (anchor) => {
    const lines = ["pub the", CANARY].map((input) => JSON.stringify({ input, ref: "-" }));
    const data = await folder.file("data.jsonl", `${lines.join("\n")}\n`);
    const texts = ["--data", data, "--max-tokens", "10", "--chunk", "4", "--ignore-end", "--json"];
    const asked = [...texts, "--anchor", String(anchor)];
    const peers = ["--server", server.url, "--dealer", dealer.url];
    const [planned, ran, generated] = await Promise.all([
      mergen(["plan", "--model", model, ...asked]),
      mergen(["run", "--model", model, ...asked]),
      generate(["generate", ...peers, ...asked]),
    ]);
    expect(jsonLines<Generation>(generated).map(({ input }) => input)).toEqual(["pub the", CANARY]);
    expect(jsonLines<Generation>(generated).map(costs)).toEqual(
      jsonLines<Generation>(ran).map(costs),
    );
    expect(jsonLines<Generation>(generated).map(costs)).toEqual(
      jsonLines<Generation>(planned).map(costs),
    );
  });

  it("give the same tokens in the fixed and the secure mode of one seed", async () => {
    const asked = ["--temperature", "1.5", "--top-k", "40", "--seed", "7", "--max-tokens", "20"];
    const args = ["run", "--model", model, "--input", CANARY, ...asked, "--json", "--mode"];
    const runs = await Promise.all(["fixed", "secure"].map((mode) => mergen([...args, mode])));
    const [fixed, secure] = runs.map((finished) => jsonLines<Generation>(finished)[0]!);
    expect(secure!.tokens).toEqual(fixed!.tokens);
    expect(secure!.text).toBe(fixed!.text);
    expect(new Set(secure!.tokens).size).toBeGreaterThan(3);
  });
});

/** All counts of a report, without its seconds. */
function costs({ online, offline }: Generation) {
  const { seconds: _online, ...onlineCounts } = online;
  const { seconds: _offline, ...offlineCounts } = offline;
  return { ...onlineCounts, ...offlineCounts };
}

describe("who is refused", () => {
  it("a client without the right token for the server or the dealer", async () => {
    const wrong = [
      [{ MERGEN_DEALER_TOKEN: DEALER_TOKEN }, /refused the bearer token; .*--server-token/],
      [{ ...tokens, MERGEN_TOKEN: "no" }, /refused the bearer token; .*--server-token/],
      [{ ...tokens, MERGEN_DEALER_TOKEN: "no" }, /refused the bearer token; .*--dealer-token/],
    ] as const;
    for (const [env, says] of wrong) {
      expectError(await generate(clientArgs(...shortRun), env), "E_AUTH", says);
    }
  });

  it("a server without the dealer's token", async () => {
    const args = ["serve", "--model", model, "--dealer", dealer.url, "--json"];
    expectError(await mergen(args), "E_AUTH", /refused the bearer token; .*--dealer-token/);
  });

  it("a server of another model than the one named", async () => {
    const other = await folder.model("other", { bucket: 8, hiddenSize: 4 });
    const args = clientArgs(...shortRun, "--model", other);
    expectError(await generate(args), "E_DIGEST", /another model/);
    const recipe = clientArgs(...shortRun, "--recipe", "vanilla");
    expectError(await generate(recipe), "E_CONFIG", /recipe merge, not vanilla/);
  });

  it("a server of another version", async () => {
    const other = await listenWebSocket({
      onConnection: (transport) =>
        void new Channel(transport).sendControl({ type: "hello", version: 99, role: "server" }),
    });
    const args = ["generate", "--server", other.url, "--dealer", dealer.url, ...shortRun];
    const finished = await mergen([...args, "--input", CANARY]);
    await other.close();
    expectError(finished, "E_VERSION", /version 99.*update the older/);
  });

  it("a peer of another version or plan, by the server and by the dealer", async () => {
    for (const { url, token } of [
      { url: server.url, token: SERVER_TOKEN },
      { url: dealer.url, token: DEALER_TOKEN },
    ]) {
      const channel = new Channel(await connectWebSocket(url, { token }));
      await tell(channel, { type: "hello", version: PROTOCOL_VERSION + 1, role: "client" });
      await channel.receiveControl({ timeoutMs: TIMEOUT_MS });
      await rejectionOf("E_VERSION", () => channel.receive({ timeoutMs: TIMEOUT_MS }));
    }
    const channel = new Channel(await connectWebSocket(server.url, { token: SERVER_TOKEN }));
    await greet(channel, "client", TIMEOUT_MS);
    await expectMessage(channel, "offer", TIMEOUT_MS);
    await channel.receive({ timeoutMs: TIMEOUT_MS, kinds: ["model"] });
    const options = { promptPositions: 8, maxTokens: 2, chunk: 1, anchor: 1 };
    await tell(channel, { type: "open", options, digest: "0".repeat(64) });
    await rejectionOf("E_DIGEST", () => channel.receive({ timeoutMs: TIMEOUT_MS }));
  });

  it("a dealer that does not listen", async () => {
    const gone = await listenWebSocket({ onConnection: () => {} });
    await gone.close();
    const args = ["generate", "--server", server.url, "--dealer", gone.url, "--input", CANARY];
    const finished = await generate([...args, ...shortRun]);
    expectError(finished, "E_PEER_GONE", /refused the connection; start the dealer/);
  });
});

describe("bundles in a folder", () => {
  it("that cannot be made", async () => {
    const file = await folder.file("file", "");
    const args = clientArgs(...shortRun, "--bundles", `${file}/bundles`);
    expectError(await generate(args), "E_STORE", /ENOTDIR: choose another folder/);
    const serving = ["serve", "--model", model, "--dealer", dealer.url, "--json"];
    const finished = await mergen([...serving, "--bundles", `${file}/bundles`], { env: tokens });
    expectError(finished, "E_STORE", /ENOTDIR: choose another folder/);
  });

  it("that is full", async () => {
    const args = clientArgs(...shortRun, "--bundles", folder.path("full"));
    const finished = await mergen(args, { env: tokens, shell: 'ulimit -f 0; exec "$@"' });
    expectError(finished, "E_STORE", /full \(EFBIG\): free space or choose another folder/);
    expect(await readdir(folder.path("full"))).toEqual(["owner.pid"]);
  });

  it("that is full, of a server: its client is told, and the server goes on", async () => {
    const args = ["serve", "--model", model, "--dealer", dealer.url];
    const options = { env: tokens, shell: 'ulimit -f 0; exec "$@"' };
    const full = await listening([...args, "--bundles", folder.path("full-server")], options);
    const asking = ["generate", "--server", full.url, "--dealer", dealer.url, "--input", CANARY];
    expectError(await generate([...asking, ...shortRun]), "E_STORE", /the peer reported/);
    expectError(await generate([...asking, ...shortRun]), "E_STORE", /the peer reported/);
    full.signal("SIGTERM");
    expect((await full.finished).status).toBe(0);
  });

  it("left by a client that was killed are cleared at the next start", async () => {
    const bundles = folder.path("bundles");
    await mkdir(bundles);
    await folder.file("bundles/note.txt", "not ours");
    const client = await started(clientArgs("--bundles", bundles));
    client.signal("SIGKILL");
    await client.finished;
    await folder.file(`bundles/${"0a".repeat(16)}-3-client.bundle`, "stale");
    await folder.file("bundles/1.partial", "stale");
    expect((await generate(clientArgs(...shortRun, "--bundles", bundles))).status).toBe(0);
    expect(await readdir(bundles)).toEqual(["note.txt", "owner.pid"]);
  });
});

describe("who goes away", () => {
  it("a server killed in the middle: its client says so", async () => {
    const doomed = await serve();
    const args = ["generate", "--server", doomed.url, "--dealer", dealer.url, "--input", CANARY];
    const client = await started(args);
    doomed.signal("SIGKILL");
    const { status, stderr } = await client.finished;
    expect(stderr).toMatch(/^E_PEER_GONE: the server(:| closed)/m);
    expect(status).toBe(1);
  });

  it("a client interrupted in the middle ends at once", async () => {
    const client = await started(clientArgs());
    await expectInterrupted(client);
  });

  it("a client interrupted while a peer does not answer ends in a few seconds", async () => {
    const client = await started(clientArgs());
    dealer.child.kill("SIGSTOP");
    server.child.kill("SIGSTOP");
    try {
      await expectInterrupted(client);
    } finally {
      dealer.child.kill("SIGCONT");
      server.child.kill("SIGCONT");
    }
  });

  it("and the others serve on", async () => {
    expect((await generate(clientArgs(...shortRun))).status).toBe(0);
  });

  it("a server and a dealer interrupted with a client connected", async () => {
    const client = await started(clientArgs());
    for (const process of [server, dealer]) {
      const since = performance.now();
      process.signal("SIGINT");
      expect((await process.finished).status).toBe(130);
      expect(performance.now() - since).toBeLessThan(6000);
    }
    const { status, stderr } = await client.finished;
    expect([status, stderr.match(/^E_\w+/m)?.[0]]).toEqual([1, "E_PEER_GONE"]);
  });
});

async function expectInterrupted(client: Running): Promise<void> {
  const since = performance.now();
  client.signal("SIGINT");
  const { status, stderr } = await client.finished;
  expect(stderr).toMatch(/^E_INTERRUPTED: /m);
  expect(status).toBe(130);
  expect(performance.now() - since).toBeLessThan(6000);
}

describe("what was written meanwhile", () => {
  it("names no prompt, text or bearer token", async () => {
    const asked = ["--json", "--mode", "fixed", "--max-tokens", "12", "--ignore-end"];
    const ran = await mergen(["run", "--model", model, "--input", CANARY, ...asked]);
    const { text } = jsonLines<Generation>(ran)[0]!;
    expect(text.length).toBeGreaterThan(6);
    const logs = { server: server.stderr, dealer: dealer.stderr, clients: clientNotes };
    for (const [name, log] of Object.entries(logs)) {
      for (const secret of [CANARY, text.slice(0, 6), SERVER_TOKEN, DEALER_TOKEN]) {
        expect(log.includes(secret), `${name}'s log holds ${secret}`).toBe(false);
      }
    }
    const said = (log: string) =>
      log
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).msg);
    expect(new Set(said(server.stderr))).toEqual(new Set(["session ended", "session failed"]));
    expect(new Set(said(dealer.stderr))).toEqual(
      new Set(["connection ended", "connection failed"]),
    );
  });
});
