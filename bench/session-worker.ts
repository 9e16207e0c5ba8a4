// One client of sessions.ts, in a thread of its own.

import { once } from "node:events";
import { parentPort, workerData } from "node:worker_threads";
import { Channel, Client, connectWebSocket, loadCrc32c, loadRingKernels } from "../src/index.ts";
import type { ClientAnswer, ClientTask } from "./sessions.ts";

const task = workerData as ClientTask;
const port = parentPort!;
const crc32c = await loadCrc32c();
const say = (answer: ClientAnswer) => port.postMessage(answer);
const connect =
  ({ url, token }: { url: string; token: string }) =>
  async () =>
    new Channel(await connectWebSocket(url, { token }), { crc32c });

const client = new Client({ kernels: await loadRingKernels() });
await client.generate({
  connectServer: connect(task.server),
  connectDealer: connect(task.dealer),
  prompt: task.prompt,
  maxTokens: task.tokens,
  ignoreEnd: true,
  ahead: "all",
  async beforeOnline() {
    say({ event: "ready" });
    await once(port, "message");
  },
});
say({ event: "done" });
port.close();
