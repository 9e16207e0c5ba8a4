// The relay as a process: that it says where it listens, passes bytes on, and ends when told to.

import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, it } from "vitest";
import { expectError, mergen, Running } from "../../test/cli.ts";

async function echoServer() {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { server, target: `127.0.0.1:${port}` };
}

async function started(...args: string[]) {
  const relay = new Running(["relay", ...args]);
  await relay.until(({ stdout, stderr }) => `${stdout}${stderr}`.includes("\n"));
  return relay;
}

it.each([
  ["SIGINT", 130],
  ["SIGTERM", 0],
] as const)("relays, counts, and ends on %s", async (signal, status) => {
  const { server, target } = await echoServer();
  const relay = await started("--target", target, "--network", "lan", "--json");
  const { port, ...line } = JSON.parse(relay.stdout);
  expect(line).toEqual({ event: "listening", role: "relay", url: `tcp://127.0.0.1:${port}` });
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write("hello");
  expect(String((await once(socket, "data"))[0])).toBe("hello");
  relay.signal(signal);
  const finished = await relay.finished;
  expect(finished.status).toBe(status);
  const [, last] = finished.stdout.trim().split("\n");
  expect(JSON.parse(last!)).toEqual({ event: "ended", upBytes: 5, downBytes: 5 });
  socket.destroy();
  server.close();
});

it("speaks to people on standard error", async () => {
  const relay = await started("--target", "[::1]:9", "--delay", "0", "--rate", "0.5", "--shared");
  relay.signal("SIGTERM");
  const { stdout, stderr } = await relay.finished;
  expect(stdout).toBe("");
  expect(stderr).toMatch(/^relay listens on tcp:\/\/127\.0\.0\.1:\d+\nrelayed 0 B up, 0 B down\n$/);
});

it.each([
  [["--target", "nowhere", "--network", "lan"], /HOST:PORT/],
  [["--target", "host:65536", "--network", "lan"], /HOST:PORT/],
  [["--target", "host:1"], /Give --network, or --delay and --rate/],
  [["--target", "host:1", "--rate", "5"], /Give --network, or --delay and --rate/],
  [["--target", "host:1", "--delay", "-1", "--rate", "5"], /must not be below 0/],
  [["--target", "host:1", "--delay", "1", "--rate", "0"], /must not be below 0, and --rate/],
  [["--target", "host:1", "--network", "lan", "--rate", "5"], /cannot be used with/],
  [["--target", "host:1", "--network", "dsl"], /lan, wan/],
  [["--network", "lan"], /--target/],
])("wrong usage: %j", async (args, says) => {
  expectError(await mergen(["relay", ...args]), "E_USAGE", says);
});

it("a port that is taken is E_CONFIG", async () => {
  const { server, target } = await echoServer();
  const network = ["--target", target, "--network", "wan"];
  expectError(await mergen(["relay", ...network, "--listen", target]), "E_CONFIG", /EADDRINUSE/);
  server.close();
});
