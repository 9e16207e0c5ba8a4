// CRC-32C of the native addon: what a Channel may take in the place of its own in TypeScript. A
// call costs some 50 ns, so frames of under 200 bytes gain nothing, and lose as little.

import { ensure, MergenError } from "../errors.ts";
import { type Addon, addonRemedy } from "./addon.ts";

/** A checksum of some bytes, continued from that of what came before them (0 at the start). */
export type Checksum = (bytes: Uint8Array, previous: number) => number;

/**
 * The checksum of one instruction set, by default the best that the processor has.
 * Cost     25 GB/s where the processor has SSE4.2, else 2
 * @throws  E_KERNEL when the addon lacks the set or the function, or gives wrong results
 */
export function nativeCrc32c(addon: Addon, isa = Object.keys(addon)[0]): Checksum {
  const kernels = addon[isa];
  ensure(kernels !== undefined, "E_KERNEL", `the native kernels have no ${isa} here`);
  const crc32c: Checksum = (bytes, previous) => kernels.crc32c(bytes, previous);
  tryOut(crc32c);
  return crc32c;
}

/** An addon that was built from older sources. */
function tryOut(crc32c: Checksum): void {
  try {
    const bytes = Uint8Array.from("123456789", (digit) => digit.charCodeAt(0));
    ensure(crc32c(bytes, 0) === 0xe3069283, "E_KERNEL", "its checksum is wrong");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `build/native.node cannot be used (${reason}): ${addonRemedy()}`;
    throw new MergenError("E_KERNEL", message, { cause });
  }
}
