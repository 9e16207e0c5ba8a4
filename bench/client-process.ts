// A client of its own process, so that its memory is its own, and a generation in the clear in one.
// Is sent a task, answers with what it measured, or why it could not.

import { once } from "node:events";
import {
  Channel,
  Client,
  connectWebSocket,
  crc32c,
  decodeFloat,
  loadCrc32c,
  loadFloatKernels,
  loadModel,
  loadRingKernels,
  MergenError,
} from "../src/index.ts";
import type { Address } from "./context.ts";
import type { ClientAnswer, ClientTask, PlainTask, PrivateTask } from "./measure.ts";
import { BUSY_POLL_MS } from "./ping.ts";
import { Profile, processReport } from "./profile.ts";
import { measureStep } from "./step.ts";

const say = (answer: ClientAnswer) => void process.send?.(answer);

async function measurePrivate(task: PrivateTask): Promise<ClientAnswer> {
  const profile = task.profile ? new Profile() : undefined;
  const kernels = await loadRingKernels();
  const checksum = (await loadCrc32c()) ?? crc32c;
  const connect =
    ({ url, token }: Address) =>
    async () => {
      const transport = await connectWebSocket(url, { token, busyPollMs: BUSY_POLL_MS });
      const used = profile ? profile.checksum(checksum) : checksum;
      const channel = new Channel(transport, { crc32c: used });
      return profile ? profile.watch(channel) : channel;
    };
  const step = await measureStep({
    ...task,
    client: new Client({ kernels: profile ? profile.kernels(kernels) : kernels }),
    connectServer: connect(task.server),
    connectDealer: connect(task.dealer),
    async beforeOnline() {
      say({ event: "ready" });
      await once(process, "message");
      profile?.reset();
    },
  });
  return { event: "private", step, process: processReport({ profile }) };
}

async function measurePlain({ folder, promptTokens, tokens }: PlainTask): Promise<ClientAnswer> {
  const model = await loadModel(folder);
  const timing = decodeFloat(model, await loadFloatKernels(), { promptTokens, tokens });
  return { event: "plain", timing, process: processReport() };
}

process.once("message", async (task: ClientTask) => {
  try {
    say(await (task.kind === "private" ? measurePrivate(task) : measurePlain(task)));
  } catch (error) {
    const code = error instanceof MergenError ? error.code : "E_INTERNAL";
    say({ event: "failed", code, message: (error as Error).message });
  }
});
