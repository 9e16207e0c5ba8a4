// Chooses the checksum of Channels in Node: the native addon's, else their own. Node only.

import { loadAddon } from "./addon.ts";
import { type Choice, choose, kernelsOfEnvironment } from "./choose.ts";
import { type Checksum, nativeCrc32c } from "./native-crc.ts";

/**
 * The addon's CRC-32C, for ChannelOptions.crc32c; undefined where there is no addon or
 * MERGEN_KERNELS names others: a Channel's own then serves, which every platform has.
 * @throws  E_USAGE when MERGEN_KERNELS names none
 */
export async function loadCrc32c(): Promise<Checksum | undefined> {
  return (await chooseChecksum()).kernels;
}

/** What loadCrc32c takes, and why. @throws as it does */
export async function chooseChecksum(): Promise<Choice<Checksum | undefined>> {
  const forced = kernelsOfEnvironment();
  return choose<Checksum | undefined>({
    kind: "checksum",
    names: forced === undefined || forced === "native" ? ["native", "reference"] : ["reference"],
    forcedBy: forced && `MERGEN_KERNELS=${forced}`,
    async load(name) {
      if (name !== "native") return { kernels: undefined, detail: "TypeScript" };
      const addon = loadAddon();
      return { kernels: nativeCrc32c(addon), detail: `native, ${Object.keys(addon)[0]}` };
    },
  });
}
