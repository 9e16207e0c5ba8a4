// Sessions of client, server and dealer over memory: what is refused and with which code, what is
// sent once only, and how each party ends when another one goes away.

import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { createWorld, type Link, type World, type WorldOptions } from "../../test/parties.ts";
import { type ErrorCode, MergenError } from "../errors.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import type { FunctionPrg, RingKernels } from "../kernel/ring-kernels.ts";
import { packedBytes } from "../ring/pack.ts";
import { encodeItems } from "../run/items.ts";
import { Channel } from "../wire/channel.ts";
import type { FrameKind } from "../wire/frame.ts";
import { FrameReader } from "../wire/frame.ts";
import { type MemoryTransport, memoryPair } from "../wire/memory.ts";
import { VirtualClock } from "../wire/virtual-clock.ts";
import type { LocalModel } from "./local.ts";
import { expect as receive, tell } from "./messages.ts";
import { PROTOCOL_VERSION, planGeneration } from "./plan.ts";
import { memoryStore } from "./store.ts";

const model = mergedModel({ seed: 10, maxTokens: 3, chunk: 1, innerSize: 8, bucket: 2 });
const timeoutMs = 5000;
const kernels = await loadRingKernels();
const prompt = "pub";
const asked = { promptPositions: 2, maxTokens: 3, chunk: 1, anchor: 0 };
const settings = { prompt, ignoreEnd: true };

let right: { tokens: readonly number[]; text: string };
beforeAll(async () => {
  right = await (await world()).generate(settings);
});
afterEach(() => void vi.restoreAllMocks());

const world = (options: Partial<WorldOptions> = {}): Promise<World> =>
  createWorld({ model, kernels, timeoutMs, ...options });

/** How the last service of a link ended: its error's code, undefined for in order. */
async function endOf({ services }: World, link: Link): Promise<ErrorCode | undefined> {
  const reason = await services.findLast((service) => service.link === link)!.ended;
  if (reason !== undefined && !(reason instanceof MergenError)) throw reason;
  return reason?.code;
}

const hello = (role: string, version = PROTOCOL_VERSION) =>
  ({ type: "hello", version, role }) as const;
const hex = (digit: string, bytes: number) => digit.repeat(2 * bytes);

/** A connection to a service, greeted. */
async function greeted(connect: () => Promise<Channel>, role: string): Promise<Channel> {
  const channel = await connect();
  await tell(channel, hello(role));
  await receive(channel, "hello", timeoutMs);
  return channel;
}

/** A client's connection to a server up to its offer. */
async function offered({ connectServer }: World) {
  const channel = await greeted(connectServer, "client");
  const offer = await receive(channel, "offer", timeoutMs);
  await channel.receive({ timeoutMs, kinds: ["model"] });
  return { channel, offer };
}

/** Both connections of a client that has joined its session. */
async function joined(world: World) {
  const { channel: server, offer } = await offered(world);
  const { digest } = await planGeneration(model.config, asked);
  await tell(server, { type: "open", options: asked, digest });
  await receive(server, "opened", timeoutMs);
  const dealer = await greeted(world.connectDealer, "client");
  const { session, model: name } = offer;
  const join = { type: "session", session, model: name, options: asked, digest } as const;
  await tell(dealer, join);
  await receive(dealer, "ready", timeoutMs);
  return { server, dealer, join };
}

/** The prompt's one-hot rows, as long as they are to be, all zeros. */
async function oneHotRows(): Promise<Uint8Array> {
  const { segments } = await planGeneration(model.config, asked);
  const { id, kind, rows, columns, bits } = segments[0]!.gates[0]!;
  expect(kind).toBe("oneHot");
  const bytes = new Uint8Array(packedBytes(rows * columns, bits!));
  return encodeItems([{ segment: 0, gate: id, bytes }]);
}

describe("a server refuses", () => {
  const refused: [name: string, code: ErrorCode, talk: (world: World) => Promise<Channel>][] = [
    [
      "a peer of another version",
      "E_VERSION",
      async ({ connectServer }) => {
        const channel = await connectServer();
        await tell(channel, hello("client", PROTOCOL_VERSION + 1));
        return channel;
      },
    ],
    [
      "a peer that is no client",
      "E_PROTOCOL",
      async ({ connectServer }) => greeted(connectServer, "dealer"),
    ],
    [
      "a peer that does not greet",
      "E_PROTOCOL",
      async ({ connectServer }) => {
        const channel = await connectServer();
        await tell(channel, { type: "open", options: asked, digest: hex("0", 32) });
        return channel;
      },
    ],
    [
      "data before the session is open",
      "E_PROTOCOL",
      async (world) => {
        const { channel } = await offered(world);
        await channel.send("upload", new Uint8Array(3));
        return channel;
      },
    ],
    [
      "a message that is out of order",
      "E_PROTOCOL",
      async (world) => {
        const { channel } = await offered(world);
        await tell(channel, { type: "end" });
        return channel;
      },
    ],
    [
      "another plan's digest",
      "E_DIGEST",
      async (world) => {
        const { channel } = await offered(world);
        await tell(channel, { type: "open", options: asked, digest: hex("a", 32) });
        return channel;
      },
    ],
    [
      "options that are no numbers of tokens",
      "E_PROTOCOL",
      async (world) => {
        const { channel } = await offered(world);
        const options = { ...asked, chunk: 0 };
        await tell(channel, { type: "open", options, digest: hex("a", 32) });
        return channel;
      },
    ],
    [
      "fields that it does not know",
      "E_PROTOCOL",
      async (world) => {
        const { channel } = await offered(world);
        const options = { ...asked, lenient: true };
        await tell(channel, { type: "open", options, digest: hex("a", 32) });
        return channel;
      },
    ],
    [
      "more positions than the model has",
      "E_PROMPT",
      async (world) => {
        const { channel } = await offered(world);
        const options = { ...asked, maxTokens: 60_000 };
        await tell(channel, { type: "open", options, digest: hex("a", 32) });
        return channel;
      },
    ],
    [
      "an upload that is cut off",
      "E_FRAME",
      async (world) => {
        const { server, dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 0 });
        await server.send("upload", new Uint8Array(5));
        return server;
      },
    ],
    [
      "an upload that lacks a correlation",
      "E_CORRELATION",
      async (world) => {
        const { server, dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 0 });
        await server.send("upload", new Uint8Array(0));
        await server.send("online", await oneHotRows());
        return server;
      },
    ],
    [
      "an upload that has a correlation twice",
      "E_PROTOCOL",
      async (world) => {
        const { server, dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 0 });
        const item = { segment: 0, gate: 3, bytes: new Uint8Array(4) };
        await server.send("upload", encodeItems([item, item]));
        return server;
      },
    ],
    [
      "more uploads than the plan has bundles",
      "E_PROTOCOL",
      async (world) => {
        const { server, dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 0 });
        const { bundles } = await planGeneration(model.config, asked);
        for (let i = 0; i <= bundles.length; i++) await server.send("upload", new Uint8Array(0));
        return server;
      },
    ],
    [
      "a generator of function keys that it does not offer",
      "E_PROTOCOL",
      async (world) => {
        const { channel } = await offered(world);
        const { digest } = await planGeneration(model.config, asked);
        await tell(channel, { type: "open", options: asked, digest, functionPrg: "aes128" });
        return channel;
      },
    ],
    [
      "a gate's message of the wrong length",
      "E_PROTOCOL",
      async (world) => {
        const { server, dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 0 });
        await server.send("upload", new Uint8Array(0));
        const ids = new Uint8Array(12 + 8);
        ids[8] = 8;
        await server.send("online", ids);
        return server;
      },
    ],
  ];

  it.each(refused)("%s", async (_name, code, talk) => {
    const here = await world();
    const channel = await talk(here);
    // The peer is told the code, and nothing else. What came before may still be read.
    expect((await channel.closed).code).toBe(code);
    expect(await endOf(here, "client-server")).toBe(code);
    await channel.close();
    // The next client is served as ever.
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });

  it("more sessions than it allows, until one has ended", async () => {
    const here = await world({ server: { maxSessions: 1 } });
    const { channel } = await offered(here);
    await rejectionOf("E_BUSY", () => here.generate(settings));
    expect(await endOf(here, "client-server")).toBe("E_BUSY");
    await channel.close();
    await here.services[0]!.ended;
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });

  it("not a client that comes again at once, while its last session is cleared away", async () => {
    const kept = memoryStore();
    let cleared = 0;
    const drop = async (prefix: string) => {
      await delay(20);
      await kept.drop(prefix);
      cleared++;
    };
    const here = await world({ server: { maxSessions: 1, store: { ...kept, drop } } });
    for (let i = 0; i < 3; i++) {
      expect((await here.generate(settings)).tokens).toEqual(right.tokens);
    }
    for (const { ended } of here.services) expect(await ended).toBeUndefined();
    expect(cleared).toBe(3);
  });

  it("the frames of an earlier session", async () => {
    const clock = new VirtualClock();
    const frames: Uint8Array[] = [];
    const here = await world({
      clock,
      connect: (link) => {
        const [near, far] = memoryPair();
        if (link !== "client-server") return [near, far];
        const keep = (bytes: Uint8Array) => {
          frames.push(bytes);
          return near.send(bytes);
        };
        return [{ ...spied(near), send: keep }, far];
      },
    });
    await here.generate(settings);
    const [near, far] = memoryPair();
    const ended = here.server.serve(new Channel(far, { clock })).then(
      () => undefined,
      (reason: MergenError) => reason.code,
    );
    const kinds: FrameKind[] = [];
    const reader = new FrameReader({ maxMessageBytes: 2 ** 24 });
    near.onFrame((bytes) => void kinds.push(reader.push(bytes)!.kind));
    for (const frame of frames) await near.send(frame);
    // Nobody has joined the new session at the dealer, so no bundle comes and nothing is opened.
    // The recorded end of the connection may be seen first.
    expect(["E_TIMEOUT", "E_PEER_GONE"]).toContain(await clock.run(ended));
    expect(kinds).not.toContain("online");
  });
});

/** A transport's methods as a plain object, to change one of. */
function spied(inner: MemoryTransport): MemoryTransport {
  return {
    send: (bytes) => inner.send(bytes),
    onFrame: (handler) => inner.onFrame(handler),
    onClose: (handler) => inner.onClose(handler),
    close: () => inner.close(),
    pause: () => inner.pause(),
    resume: () => inner.resume(),
    cut: () => inner.cut(),
  };
}

describe("a dealer refuses", () => {
  const refused: [name: string, code: ErrorCode, talk: (world: World) => Promise<Channel>][] = [
    [
      "a peer that is neither server nor client",
      "E_PROTOCOL",
      ({ connectDealer }) => greeted(connectDealer, "dealer"),
    ],
    [
      "a session that no server has announced",
      "E_PROTOCOL",
      async ({ connectDealer }) => {
        const channel = await greeted(connectDealer, "client");
        const [session, name, digest] = [hex("1", 16), hex("2", 32), hex("3", 32)];
        await tell(channel, { type: "session", session, model: name, options: asked, digest });
        return channel;
      },
    ],
    [
      "a second client in a session",
      "E_PROTOCOL",
      async (world) => {
        const { join } = await joined(world);
        const second = await greeted(world.connectDealer, "client");
        await tell(second, join);
        return second;
      },
    ],
    [
      "a bundle that is asked for twice",
      "E_PROTOCOL",
      async (world) => {
        const { dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 0 });
        await dealer.receive({ timeoutMs, kinds: ["bundle"] });
        await tell(dealer, { type: "deal", bundle: 0 });
        return dealer;
      },
    ],
    [
      "a bundle that is not the next",
      "E_PROTOCOL",
      async (world) => {
        const { dealer } = await joined(world);
        await tell(dealer, { type: "deal", bundle: 1 });
        return dealer;
      },
    ],
    [
      "a bundle after the last",
      "E_PROTOCOL",
      async (world) => {
        const { dealer } = await joined(world);
        const { bundles } = await planGeneration(model.config, asked);
        for (let bundle = 0; bundle < bundles.length; bundle++) {
          await tell(dealer, { type: "deal", bundle });
          await dealer.receive({ timeoutMs, kinds: ["bundle"] });
        }
        await tell(dealer, { type: "deal", bundle: bundles.length });
        return dealer;
      },
    ],
    [
      "a client with another plan",
      "E_DIGEST",
      async (world) => {
        const { channel, offer } = await offered(world);
        const { digest } = await planGeneration(model.config, asked);
        await tell(channel, { type: "open", options: asked, digest });
        await receive(channel, "opened", timeoutMs);
        const dealer = await greeted(world.connectDealer, "client");
        const { session, model: name } = offer;
        const other = { ...asked, chunk: 2 };
        await tell(dealer, { type: "session", session, model: name, options: other, digest });
        return dealer;
      },
    ],
    [
      "a client whose generator of function keys is not its server's",
      "E_PROTOCOL",
      async (world) => {
        const { channel, offer } = await offered(world);
        const { digest } = await planGeneration(model.config, asked);
        await tell(channel, { type: "open", options: asked, digest });
        await receive(channel, "opened", timeoutMs);
        const dealer = await greeted(world.connectDealer, "client");
        const { session, model: name } = offer;
        const join = { type: "session", session, model: name, options: asked, digest } as const;
        await tell(dealer, { ...join, functionPrg: "aes128" });
        return dealer;
      },
    ],
    [
      "a model whose weights do not have its name",
      "E_DIGEST",
      async (world) => {
        const channel = await greeted(world.connectDealer, "server");
        await tell(channel, { type: "model", model: hex("5", 32), config: model.config });
        await receive(channel, "have", timeoutMs);
        const { tensors } = await planGeneration(model.config, asked);
        for (const { rows, columns } of tensors) {
          await channel.send("model", new Uint8Array(8 * rows * columns));
        }
        return channel;
      },
    ],
    [
      "a masked tensor of the wrong size",
      "E_PROTOCOL",
      async (world) => {
        const channel = await greeted(world.connectDealer, "server");
        await tell(channel, { type: "model", model: hex("5", 32), config: model.config });
        await receive(channel, "have", timeoutMs);
        await channel.send("model", new Uint8Array(8));
        return channel;
      },
    ],
    [
      "a config that is none",
      "E_MODEL",
      async (world) => {
        const channel = await greeted(world.connectDealer, "server");
        await tell(channel, { type: "model", model: hex("5", 32), config: { hiddenSize: -1 } });
        return channel;
      },
    ],
    [
      "a session of another model than the one just stated",
      "E_PROTOCOL",
      async (world) => {
        await world.server.register();
        const channel = await greeted(world.connectDealer, "server");
        const { modelDigest: name } = world.server;
        await tell(channel, { type: "model", model: name, config: model.config });
        await receive(channel, "have", timeoutMs);
        const [session, other, digest] = [hex("1", 16), hex("2", 32), hex("3", 32)];
        await tell(channel, { type: "session", session, model: other, options: asked, digest });
        return channel;
      },
    ],
    [
      "a session that is announced twice",
      "E_PROTOCOL",
      async (world) => {
        await world.server.register();
        const { modelDigest: name } = world.server;
        const announce = async () => {
          const channel = await greeted(world.connectDealer, "server");
          await tell(channel, { type: "model", model: name, config: model.config });
          await receive(channel, "have", timeoutMs);
          const [session, digest] = [hex("1", 16), hex("3", 32)];
          await tell(channel, { type: "session", session, model: name, options: asked, digest });
          return channel;
        };
        await receive(await announce(), "ready", timeoutMs);
        return announce();
      },
    ],
  ];

  it.each(refused)("%s", async (_name, code, talk) => {
    const here = await world();
    const channel = await talk(here);
    expect((await channel.closed).code).toBe(code);
    expect(await endOf(here, "client-dealer")).toBe(code);
    await channel.close();
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });
});

describe("a client refuses", () => {
  it("a peer that is no server, or no dealer", async () => {
    const here = await world();
    const connectServer = here.connectDealer;
    await rejectionOf("E_PROTOCOL", () => here.generate({ ...settings, ...{ connectServer } }));
    const connectDealer = here.connectServer;
    await rejectionOf("E_PROTOCOL", () => here.generate({ ...settings, ...{ connectDealer } }));
  });

  it("a prompt or options that do not fit, before a session is opened", async () => {
    const here = await world();
    await rejectionOf("E_PROMPT", () => here.generate({ prompt: " " }));
    await rejectionOf("E_PROMPT", () => here.generate({ prompt: "much too long a prompt" }));
    await rejectionOf("E_PROMPT", () => here.generate({ prompt, maxTokens: 60 }));
    await rejectionOf("E_USAGE", () => here.generate({ prompt, chunk: 0 }));
    await rejectionOf("E_USAGE", () => here.generate({ prompt, anchor: -1 }));
    expect(here.services.map(({ link }) => link)).toEqual(Array(5).fill("client-server"));
  });

  it("another model than the one that was named", async () => {
    const here = await world();
    const expectedConfig = { ...model.config, headCount: 1 };
    await rejectionOf("E_DIGEST", () => here.generate({ ...settings, expectedConfig }));
    await rejectionOf("E_CONFIG", () => here.generate({ ...settings, recipe: "puma" }));
    const same = { expectedConfig: model.config, recipe: model.config.recipe };
    expect((await here.generate({ ...settings, ...same })).tokens).toEqual(right.tokens);
  });

  /** A server of which the test plays each message. */
  async function against(play: (channel: Channel) => Promise<void>) {
    const here = await world();
    let far: Channel | undefined;
    const connectServer = async () => {
      const [near, other] = memoryPair();
      far = new Channel(other);
      play(far).catch(() => {}); // The client has gone.
      return new Channel(near);
    };
    const result = here.client
      .generate({ ...settings, connectServer, connectDealer: here.connectDealer })
      .finally(() => far?.close());
    return { result, here };
  }

  const offer = {
    type: "offer",
    model: hex("a", 32),
    config: model.config as unknown,
    maskSeed: hex("b", 32),
    session: hex("c", 16),
    functionPrgs: ["chacha12"] as ("chacha12" | "aes128")[],
  } as const;

  const badServers: [name: string, code: ErrorCode, play: (c: Channel) => Promise<void>][] = [
    ["of another version", "E_VERSION", (c) => tell(c, hello("server", 99))],
    ["that is a client", "E_PROTOCOL", (c) => tell(c, hello("client"))],
    [
      "whose offer is malformed",
      "E_PROTOCOL",
      async (c) => {
        await tell(c, hello("server"));
        await tell(c, { ...offer, session: "../../x" });
      },
    ],
    [
      "whose config is none",
      "E_MODEL",
      async (c) => {
        await tell(c, hello("server"));
        await tell(c, { ...offer, config: {} });
      },
    ],
    [
      "whose tokenizer is not JSON",
      "E_TOKENIZER",
      async (c) => {
        await tell(c, hello("server"));
        await tell(c, offer);
        await c.send("model", Uint8Array.of(123));
      },
    ],
    [
      "that reports an error of its own",
      "E_AUTH",
      async (c) => {
        await c.close("E_AUTH");
      },
    ],
  ];

  it("a bad tokenizer, also of a model whose name it has met with a good one", async () => {
    const good = await world();
    await good.generate(settings);
    const bad = await world({ server: { tokenizer: Uint8Array.of(123) } });
    expect(bad.server.modelDigest).toBe(good.server.modelDigest);
    const { connectServer, connectDealer } = bad;
    await rejectionOf("E_TOKENIZER", () =>
      good.client.generate({ ...settings, connectServer, connectDealer }),
    );
    expect((await good.generate(settings)).text).toBe(right.text);
  });

  it.each(badServers)("a server %s", async (_name, code, play) => {
    const { result } = await against(play);
    await rejectionOf(code, () => result);
  });
});

describe("the generator of function keys", () => {
  /** Kernels that say they have these; ChaCha12 alone is what they really have. */
  const having = (...functionPrgs: FunctionPrg[]): RingKernels =>
    new Proxy(kernels, {
      get(target, name) {
        if (name === "functionPrgs") return functionPrgs;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  const [both, one] = [having("aes128", "chacha12"), having("chacha12")];

  it.each([
    ["of all that server and dealer have, best first", both, both, ["aes128", "chacha12"]],
    ["not what the dealer lacks", both, one, ["chacha12"]],
    ["not what the server lacks", one, both, ["chacha12"]],
  ] as const)("is offered %s", async (_name, atServer, atDealer, expected) => {
    const here = await world({ server: { kernels: atServer }, dealer: { kernels: atDealer } });
    await here.server.register();
    const { channel, offer } = await offered(here);
    expect(offer.functionPrgs).toEqual(expected);
    await channel.close();
  });

  it("is ChaCha12 until the dealer has said what it has", async () => {
    const here = await world({ server: { kernels: both }, dealer: { kernels: both } });
    const { channel, offer } = await offered(here);
    expect(offer.functionPrgs).toEqual(["chacha12"]);
    await channel.close();
  });

  it("that was not offered is refused by the server itself", async () => {
    const here = await world({ server: { kernels: one }, dealer: { kernels: both } });
    await here.server.register();
    const { channel } = await offered(here);
    const { digest } = await planGeneration(model.config, asked);
    await tell(channel, { type: "open", options: asked, digest, functionPrg: "aes128" });
    expect((await channel.closed).code).toBe("E_PROTOCOL");
    const links = here.services.map(({ link }) => link);
    expect(links).toEqual(["server-dealer", "client-server"]); // the first one to register
  });

  it("that the dealer lacks is refused by the dealer", async () => {
    const here = await world({ dealer: { kernels: one } });
    await here.server.register();
    const channel = await greeted(here.connectDealer, "server");
    const { modelDigest: name } = here.server;
    await tell(channel, { type: "model", model: name, config: model.config });
    expect((await receive(channel, "have", timeoutMs)).functionPrgs).toEqual(["chacha12"]);
    const [session, digest] = [hex("1", 16), hex("3", 32)];
    const announced = { type: "session", session, model: name, options: asked, digest } as const;
    await tell(channel, { ...announced, functionPrg: "aes128" });
    expect((await channel.closed).code).toBe("E_PROTOCOL");
    expect(await endOf(here, "client-dealer")).toBe("E_PROTOCOL"); // whoever connected
  });

  it.runIf(kernels.functionPrgs.includes("aes128"))("AES-128 gives the same text", async () => {
    const here = await world();
    await here.server.register();
    const { channel, offer } = await offered(here);
    expect(offer.functionPrgs[0]).toBe("aes128");
    await channel.close();
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });

  it("is the best that the client has of those, and all three use it", async () => {
    const named: unknown[] = [];
    const here = await world({
      server: { kernels: both },
      dealer: { kernels: both },
      client: { kernels: one },
      connect: (link) => {
        const [near, far] = memoryPair();
        const reader = new FrameReader({ maxMessageBytes: 2 ** 28 });
        const send = (bytes: Uint8Array) => {
          const message = reader.push(bytes);
          if (message?.kind === "control") {
            const { type, functionPrg } = JSON.parse(new TextDecoder().decode(message.payload));
            if (type === "open" || type === "session") named.push([link, type, functionPrg]);
          }
          return near.send(bytes);
        };
        return [{ ...spied(near), send }, far];
      },
    });
    await here.server.register();
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
    expect(named).toEqual([
      ["client-server", "open", "chacha12"],
      ["server-dealer", "session", "chacha12"],
      ["client-dealer", "session", "chacha12"],
    ]);
  });

  it("that nobody has in common ends the session", async () => {
    const here = await world({ client: { kernels: having("aes128") } });
    await rejectionOf("E_PROTOCOL", () => here.generate(settings));
    expect(await endOf(here, "client-server")).toBe("E_PROTOCOL");
  });
});

describe("peers that go away", () => {
  /** Cuts the link's connection once it has carried this message towards its opener. */
  function cutting(link: Link, when: (kind: FrameKind, type: string) => boolean) {
    return (opened: Link) => {
      const [near, far] = memoryPair();
      if (opened !== link) return [near, far] as const;
      const reader = new FrameReader({ maxMessageBytes: 2 ** 28 });
      const watched = {
        ...spied(near),
        onFrame: (handler: (bytes: Uint8Array) => void) =>
          near.onFrame((bytes) => {
            const message = reader.push(bytes);
            handler(bytes);
            if (!message) return;
            const { kind, payload } = message;
            const type =
              kind === "control" ? JSON.parse(new TextDecoder().decode(payload)).type : "";
            if (when(kind, type)) near.cut();
          }),
      };
      return [watched, far] as const;
    };
  }

  const phases: [link: Link, name: string, when: (kind: FrameKind, type: string) => boolean][] = [
    ["client-server", "after its hello", (_kind, type) => type === "hello"],
    ["client-server", "after its offer", (_kind, type) => type === "offer"],
    ["client-server", "after its tokenizer", (kind) => kind === "model"],
    ["client-server", "after it has opened", (_kind, type) => type === "opened"],
    ["client-server", "after its first online message", (kind) => kind === "online"],
    ["client-dealer", "after its hello", (_kind, type) => type === "hello"],
    ["client-dealer", "when it is ready", (_kind, type) => type === "ready"],
    ["client-dealer", "after the first bundle", (kind) => kind === "bundle"],
    ["server-dealer", "after its hello", (_kind, type) => type === "hello"],
    ["server-dealer", "after it knows the model", (_kind, type) => type === "stored"],
    ["server-dealer", "when it is ready", (_kind, type) => type === "ready"],
    ["server-dealer", "after the first bundle", (kind) => kind === "bundle"],
  ];

  it.each(phases)("%s: the service vanishes %s", async (link, name, when) => {
    const here = await world({ connect: cutting(link, when) });
    const result = await here.generate(settings).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    // A server that is gone before its client has joined leaves the dealer without the session.
    const joining = link !== "client-dealer" && /opened|is ready/.test(name);
    const codes = joining ? ["E_PEER_GONE", "E_PROTOCOL"] : ["E_PEER_GONE"];
    expect(codes).toContain((result as MergenError).code);
    for (const { ended } of here.services) {
      const reason = await ended;
      if (reason !== undefined) expect(codes).toContain((reason as MergenError).code);
    }
  });

  it("a client that vanishes leaves the server ready for the next", async () => {
    const here = await world({ server: { maxSessions: 1 } });
    const { server, dealer } = await joined(here);
    await Promise.all([server.close(), dealer.close()]);
    expect(await endOf(here, "client-server")).toBe("E_PEER_GONE");
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });

  it("a client that ends before its first bundle is no fault", async () => {
    const here = await world();
    const { server, dealer } = await joined(here);
    await tell(dealer, { type: "end" });
    await tell(server, { type: "end" });
    expect(await receive(server, "ended", timeoutMs)).toMatchObject({ dealerToServerBytes: 0 });
    for (const { ended } of here.services) expect(await ended).toBeUndefined();
  });

  it("a server whose dealer cannot be reached tells its client", async () => {
    const connectDealer = async () => {
      throw new MergenError("E_PEER_GONE", "no dealer there");
    };
    const here = await world({ server: { connectDealer } });
    await rejectionOf("E_PEER_GONE", () => here.generate(settings));
    await expect(here.server.register()).rejects.toMatchObject({ code: "E_PEER_GONE" });
  });

  it("a client whose server or dealer cannot be reached says so", async () => {
    const here = await world();
    const nobody = async () => {
      throw new MergenError("E_PEER_GONE", "nobody there");
    };
    await rejectionOf("E_PEER_GONE", () =>
      here.generate({ ...settings, ...{ connectServer: nobody } }),
    );
    await rejectionOf("E_PEER_GONE", () =>
      here.generate({ ...settings, ...{ connectDealer: nobody } }),
    );
    expect(await endOf(here, "client-server")).toBe("E_PEER_GONE");
  });
});

describe("time", () => {
  /** A peer that takes everything and never says a word. */
  const silent = (clock: VirtualClock) => async () => new Channel(memoryPair()[0], { clock });

  it("a server that does not answer is E_TIMEOUT after the stated time", async () => {
    const clock = new VirtualClock();
    const here = await world({ clock });
    const result = here.generate({ ...settings, ...{ connectServer: silent(clock) } });
    await rejectionOf("E_TIMEOUT", () => clock.run(result));
    expect(clock.now()).toBe(timeoutMs);
  });

  it("a dealer that does not answer is E_TIMEOUT for the client and then for the server", async () => {
    const clock = new VirtualClock();
    await planGeneration(model.config, asked);
    const digest = crypto.subtle.digest.bind(crypto.subtle);
    vi.spyOn(crypto.subtle, "digest").mockImplementation((...args) => clock.hold(digest(...args)));
    const blob = Blob.prototype.arrayBuffer;
    vi.spyOn(Blob.prototype, "arrayBuffer").mockImplementation(function (this: Blob) {
      return clock.hold(blob.call(this));
    });
    const here = await world({ clock });
    const result = here.generate({ ...settings, ...{ connectDealer: silent(clock) } });
    await rejectionOf("E_TIMEOUT", () => clock.run(result));
    expect(await clock.run(endOf(here, "client-server"))).toBe("E_TIMEOUT");
  });

  it("a client that does not answer is E_TIMEOUT for the server", async () => {
    const clock = new VirtualClock();
    const here = await world({ clock });
    const channel = await here.connectServer();
    expect(await clock.run(endOf(here, "client-server"))).toBe("E_TIMEOUT");
    expect((await channel.closed).code).toBe("E_TIMEOUT");
  });
});

describe("an abort signal", () => {
  it("that is given before the start", async () => {
    const here = await world();
    await rejectionOf("E_INTERRUPTED", () =>
      here.generate({ ...settings, signal: AbortSignal.abort() }),
    );
  });

  it("that comes with the first piece of text", async () => {
    const here = await world();
    const abort = new AbortController();
    const pieces: string[] = [];
    const onText = (piece: string) => {
      pieces.push(piece);
      abort.abort();
    };
    const result = here.generate({ ...settings, signal: abort.signal, onText });
    await rejectionOf("E_INTERRUPTED", () => result);
    expect(pieces).toHaveLength(1);
    expect(right.text.startsWith(pieces[0]!)).toBe(true);
    for (const { ended } of here.services) {
      const reason = await ended;
      if (reason !== undefined) expect(reason).toBeInstanceOf(MergenError);
    }
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });

  it("that comes while the client waits", async () => {
    const here = await world();
    const abort = new AbortController();
    const connectServer = async () => {
      setImmediate(() => abort.abort());
      return new Channel(memoryPair()[0]);
    };
    await rejectionOf("E_INTERRUPTED", () =>
      here.generate({ ...settings, signal: abort.signal, ...{ connectServer } }),
    );
  });
});

/** Counts the bytes that connections of a link carry towards the service, by kind. */
function counted(link: Link) {
  const bytes: Partial<Record<FrameKind, number>> = {};
  const connect = (opened: Link) => {
    const [near, far] = memoryPair();
    if (opened !== link) return [near, far] as const;
    const reader = new FrameReader({ maxMessageBytes: 2 ** 28 });
    const watched = {
      ...spied(near),
      send: (frame: Uint8Array) => {
        const message = reader.push(frame);
        if (message) bytes[message.kind] = (bytes[message.kind] ?? 0) + message.payload.length;
        return near.send(frame);
      },
    };
    return [watched, far] as const;
  };
  return { bytes, connect };
}

describe("what is sent once", () => {
  const weightBytes = async () => {
    const { tensors } = await planGeneration(model.config, asked);
    return tensors.reduce((sum, { rows, columns }) => sum + 8 * rows * columns, 0);
  };

  it("masked weights: at the first registration, and never again", async () => {
    const { bytes, connect } = counted("server-dealer");
    const here = await world({ connect });
    await here.server.register();
    expect(bytes.model).toBe(await weightBytes());
    await here.server.register();
    await here.generate(settings);
    await here.generate(settings);
    expect(bytes.model).toBe(await weightBytes());
  });

  it("masked weights come with the first session where nobody has registered", async () => {
    const { bytes, connect } = counted("server-dealer");
    const here = await world({ connect });
    await here.generate(settings);
    await here.generate(settings);
    expect(bytes.model).toBe(await weightBytes());
  });

  it("other weights, another seed of masks or another config are another model", async () => {
    const here = await world();
    const names = new Set([here.server.modelDigest, (await world()).server.modelDigest]);
    expect(names.size).toBe(1);
    const others: LocalModel[] = [
      mergedModel({ seed: 5, maxTokens: 3, chunk: 1, innerSize: 8, bucket: 2 }),
      { ...model, config: { ...model.config, recipe: "merge-er" } },
    ];
    for (const other of others) names.add((await world({ model: other })).server.modelDigest);
    names.add((await world({ seed: 2 })).server.modelDigest);
    expect(names.size).toBe(4);
  });

  it("a dealer with room for one model forgets the one that was used longest ago", async () => {
    const two = await world({ dealer: { maxModels: 2 } });
    const { dealer } = two;
    const sent: Record<string, number> = {};
    const serverOf = async (name: string, other: LocalModel) => {
      const { bytes, connect } = counted("server-dealer");
      const here = await world({
        model: other,
        server: {
          connectDealer: async () => {
            const [near, far] = connect("server-dealer");
            dealer.serve(new Channel(far)).catch(() => {});
            return new Channel(near);
          },
        },
      });
      return async () => {
        const before = bytes.model ?? 0;
        await here.server.register();
        sent[name] = (bytes.model ?? 0) - before;
      };
    };
    const variant = (recipe: string) => ({ ...model, config: { ...model.config, recipe } });
    const a = await serverOf("a", variant("a"));
    const b = await serverOf("b", variant("b"));
    const c = await serverOf("c", variant("c"));
    for (const register of [a, b, a, c]) await register(); // b is the one to go
    await a();
    expect(sent.a).toBe(0);
    await b();
    expect(sent.b).toBeGreaterThan(0);
  });

  it("a config is the same model whatever the order of its keys", async () => {
    const config = Object.fromEntries(
      Object.entries(model.config).reverse(),
    ) as unknown as LocalModel["config"];
    const here = await world({ model: { ...model, config } });
    expect(here.server.modelDigest).toBe((await world()).server.modelDigest);
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });
});

describe("several sessions", () => {
  it("at the same time give the right texts", async () => {
    const here = await world();
    const prompts = ["pub", "the", "a b", "zzz"].slice(0, 3);
    const alone = [];
    for (const text of prompts) alone.push((await here.generate({ prompt: text })).text);
    const together = await Promise.all(prompts.map((text) => here.generate({ prompt: text })));
    expect(together.map(({ text }) => text)).toEqual(alone);
    for (const { ended } of here.services) expect(await ended).toBeUndefined();
  });

  it("take up nothing that another one left", async () => {
    const here = await world();
    const { server, dealer } = await joined(here);
    await tell(dealer, { type: "deal", bundle: 0 });
    await Promise.all([server.close(), dealer.close()]);
    expect((await here.generate(settings)).tokens).toEqual(right.tokens);
  });

  it("one whose store is full ends with E_STORE and harms no other", async () => {
    const full = {
      put: async () => {
        throw new MergenError("E_STORE", "bundle folder /full: the disk is full");
      },
      take: async () => new Uint8Array(),
      drop: async () => {},
    };
    const atServer = await world({ server: { store: full } });
    await rejectionOf("E_STORE", () => atServer.generate(settings));
    const atClient = await world({ client: { store: full } });
    await rejectionOf("E_STORE", () => atClient.generate(settings));
    expect(await endOf(atClient, "client-server")).toBe("E_STORE");
  });
});

describe("a server is not created", () => {
  it("for bounds that do not hold", async () => {
    const wireBounds = model.config.wireBounds!.map((layer) => ({
      ...layer,
      u: { ...layer.u, proven: layer.u.proven / 2 },
    }));
    const config = { ...model.config, wireBounds };
    await rejectionOf("E_MODEL", () => world({ model: { ...model, config } }));
  });

  it("for a recipe without gates", async () => {
    const config = {
      ...model.config,
      activation: { kind: "gelu", form: "erf" } as const,
    };
    await rejectionOf("E_PLAN", () => world({ model: { ...model, config } }));
  });
});
