// The name of a served model: SHA-256 over its public config and its masked weights. Content-
// addressed, so D keeps masked weights once, and other weights, another grid or another mask seed
// always have another name.

import type { ModelConfig } from "../model/config.ts";
import type { Words } from "../ring/ring.ts";

/** Takes the slabs of all tensors in their order (plan/masks.ts); hashes each apart. */
export class ModelHash {
  readonly #parts: Uint8Array<ArrayBuffer>[] = [];

  constructor(config: ModelConfig) {
    this.#parts.push(new TextEncoder().encode(JSON.stringify(config)));
  }

  async add(slab: Words): Promise<void> {
    const bytes = new Uint8Array(slab.buffer as ArrayBuffer, slab.byteOffset, slab.byteLength);
    this.#parts.push(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
  }

  /** Hexadecimal. */
  async digest(): Promise<string> {
    const joined = new Uint8Array(await new Blob(this.#parts).arrayBuffer());
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", joined));
    return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
}
