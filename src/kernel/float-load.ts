// Chooses the float32 kernels: the native addon, else WASM, else the plain loops. Node only.

import { readFile } from "node:fs/promises";
import { MergenError } from "../errors.ts";
import { builtFile, loadAddon } from "./addon.ts";
import {
  type Choice,
  choose,
  describe,
  type KernelName,
  kernelNames,
  kernelsOfEnvironment,
  type Loaded,
} from "./choose.ts";
import type { FloatKernels } from "./float-kernels.ts";
import { createFloatNative } from "./float-native.ts";
import { floatReference } from "./float-reference.ts";
import { createFloatWasm } from "./float-wasm.ts";

/**
 * The best float kernels that load here. MERGEN_KERNELS names the only implementation to try;
 * `prefer` names the first one, with the slower ones behind it.
 * @throws  E_USAGE when MERGEN_KERNELS names none; E_KERNEL when what it names does not load
 */
export async function loadFloatKernels(options?: { prefer?: KernelName }): Promise<FloatKernels> {
  return (await chooseFloatKernels(options?.prefer)).kernels;
}

/** One line: what loadFloatKernels takes here, and why nothing better. */
export async function describeFloatKernels(options?: { prefer?: KernelName }): Promise<string> {
  return describe(await chooseFloatKernels(options?.prefer));
}

/** What loadFloatKernels takes, and why. */
export async function chooseFloatKernels(
  prefer: KernelName = "native",
): Promise<Choice<FloatKernels>> {
  const forced = kernelsOfEnvironment();
  const names = forced ? [forced] : kernelNames.slice(kernelNames.indexOf(prefer));
  const forcedBy = forced && `MERGEN_KERNELS=${forced}`;
  return choose({ kind: "float", names, forcedBy, load: loadOne });
}

async function loadOne(name: KernelName): Promise<Loaded<FloatKernels>> {
  switch (name) {
    case "native": {
      const addon = loadAddon();
      return { kernels: createFloatNative(addon), detail: `native, ${Object.keys(addon)[0]}` };
    }
    case "wasm":
      return loadWasm();
    case "reference":
      return { kernels: floatReference, detail: "reference" };
    default:
      return name satisfies never;
  }
}

async function loadWasm(): Promise<Loaded<FloatKernels>> {
  const builds = [
    { file: "float.wasm", detail: "wasm, relaxed SIMD" },
    { file: "float-simd.wasm", detail: "wasm, SIMD" },
  ];
  let failure: unknown = new MergenError("E_KERNEL", "build/float.wasm is not built");
  for (const { file, detail } of builds) {
    const path = builtFile(file);
    if (path === undefined) continue;
    try {
      return { kernels: await createFloatWasm(await readFile(path)), detail };
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
