// Bundles between their arrival and their use. Whatever is taken is gone, durably, before its
// first online frame: a bundle is used once or never, also when the process dies at any point.

import { ensure } from "../errors.ts";

export interface BundleStore {
  /** Keeps bytes under a key. @throws E_STORE when they cannot be written */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Gives the bytes and forgets them for good. @throws E_CORRELATION when there are none */
  take(key: string): Promise<Uint8Array>;
  /** Forgets everything whose key starts so: a session that has ended. */
  drop(prefix: string): Promise<void>;
}

/** Bundles that live and die with this process. */
export function memoryStore(): BundleStore {
  const kept = new Map<string, Uint8Array>();
  return {
    async put(key, bytes) {
      ensure(!kept.has(key), "E_CORRELATION", "a bundle was sent twice");
      kept.set(key, bytes);
    },
    async take(key) {
      const bytes = kept.get(key);
      ensure(bytes, "E_CORRELATION", "a bundle is missing or was used before");
      kept.delete(key);
      return bytes;
    },
    async drop(prefix) {
      for (const key of [...kept.keys()]) if (key.startsWith(prefix)) kept.delete(key);
    },
  };
}
