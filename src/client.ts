// The public interface of a client, for the browser and for Node: nothing here needs Node.

export { type ErrorCode, errorCodes, MergenError } from "./errors.ts";
export type { SampleOptions } from "./generate/sample.ts";
export type { RingKernels } from "./kernel/ring-kernels.ts";
export { loadWasmRingKernels } from "./kernel/wasm.ts";
export { Client, type ClientOptions, type GenerateOptions } from "./party/client.ts";
export type { Generation } from "./party/report.ts";
export { type BundleStore, memoryStore } from "./party/store.ts";
export { Channel, type ChannelOptions } from "./wire/channel.ts";
export type { Transport } from "./wire/transport.ts";
export { type BrowserConnectOptions, connectBrowserWebSocket } from "./wire/websocket-browser.ts";
