// 3. A private generation: dealer, server and client, over WebSockets of this machine.
//
// Here the three live in one process, which protects nobody; nothing else differs from three
// machines. Next: what must be added when they are.
//
//   node examples/03-three-parties.ts [MODEL] [PROMPT]

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import {
  Channel,
  Client,
  connectWebSocket,
  Dealer,
  listenWebSocket,
  loadModel,
  loadRingKernels,
  Server,
} from "../src/index.ts";

const [folder = "models/e2e-merge", prompt = "name[The Eagle], food[French], area[riverside]"] =
  process.argv.slice(2);
const kernels = await loadRingKernels();

/** Gives every connection to a party; ends of connections are its own business. */
const listen = (party: { serve(channel: Channel): Promise<void> }) =>
  listenWebSocket({
    onConnection: (transport) => void party.serve(new Channel(transport)).catch(console.error),
  });
const connect = (url: string) => async () => new Channel(await connectWebSocket(url));

// The dealer hands out correlated randomness. It gets masked weights, and never a prompt.
const dealer = await listen(new Dealer({ kernels }));

// The server holds the weights. It sends them to the dealer under a mask, once.
const { config, weights } = await loadModel(folder);
const tokenizer = await readFile(join(folder, "tokenizer.json"));
const connectDealer = connect(dealer.url);
const service = await Server.create({ kernels, config, weights, tokenizer, connectDealer });
await service.register();
const server = await listen(service);

// The client holds the prompt. All it knows of the model is what the server offers.
const client = new Client({ kernels });
process.stdout.write("text: ");
const { tokens, online, offline } = await client.generate({
  connectServer: connect(server.url),
  connectDealer: connect(dealer.url),
  prompt,
  onText: (piece) => void process.stdout.write(piece),
});
console.log(`\n${tokens.length} tokens, ${online.roundTrips} round trips`);
console.log(`online:  ${online.clientSentBytes} bytes sent, ${online.serverSentBytes} received`);
console.log(`offline: ${offline.dealerToClientBytes} bytes received from the dealer`);

await server.close();
await dealer.close();
