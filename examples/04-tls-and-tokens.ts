// 4. The same as 3, as it must be between machines: encrypted, and only for who holds a token.
//
// Without encryption whoever reads all three connections can compute the prompt. Each listener has
// its own bearer token; a client shows the server one and the dealer another.
//
//   node examples/04-tls-and-tokens.ts [MODEL] [PROMPT]

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Channel,
  Client,
  connectWebSocket,
  Dealer,
  listenWebSocket,
  loadModel,
  loadRingKernels,
  type MergenError,
  Server,
} from "../src/index.ts";

const [folder = "models/e2e-merge", prompt = "name[The Eagle], food[French], area[riverside]"] =
  process.argv.slice(2);
const kernels = await loadRingKernels();

/** A key and a certificate that it has signed itself, for a trial on one machine. */
async function selfSigned(): Promise<{ key: string; cert: string }> {
  const dir = await mkdtemp(join(tmpdir(), "mergen-example-"));
  const [keyFile, certFile] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1";
  const named = "-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1";
  const files = ["-keyout", keyFile, "-out", certFile];
  execFileSync("openssl", [...`${made} ${named}`.split(" "), ...files], { stdio: "ignore" });
  const pems = { key: await readFile(keyFile, "utf8"), cert: await readFile(certFile, "utf8") };
  await rm(dir, { recursive: true });
  return pems;
}

const tls = await selfSigned();
const tokens = { dealer: randomBytes(24).toString("hex"), server: randomBytes(24).toString("hex") };

const listen = (party: { serve(channel: Channel): Promise<void> }, token: string) =>
  listenWebSocket({
    tls,
    token,
    onConnection: (transport) => void party.serve(new Channel(transport)).catch(console.error),
  });
const connect = (url: string, token: string) => async () =>
  new Channel(await connectWebSocket(url, { token, ca: tls.cert }));

const dealer = await listen(new Dealer({ kernels }), tokens.dealer);
const { config, weights } = await loadModel(folder);
const tokenizer = await readFile(join(folder, "tokenizer.json"));
const connectDealer = connect(dealer.url, tokens.dealer);
const service = await Server.create({ kernels, config, weights, tokenizer, connectDealer });
await service.register();
const server = await listen(service, tokens.server);
console.log(`server ${server.url.replace(/\d+$/, "PORT")}`);

// Who has no token, or does not trust the certificate, is told why.
const refused = async (attempt: Promise<unknown>) =>
  attempt.catch((error: MergenError) => console.log(`refused, ${error.code}`));
await refused(connectWebSocket(server.url, { token: "guessed", ca: tls.cert }));
await refused(connectWebSocket(server.url, { token: tokens.server }));

const generation = await new Client({ kernels }).generate({
  connectServer: connect(server.url, tokens.server),
  connectDealer,
  prompt,
});
console.log(`text: ${generation.text}`);

await server.close();
await dealer.close();
