// Chooses the float32 kernels: the native addon, else WASM, else the plain loops. Node only.

import { readFile } from "node:fs/promises";
import { MergenError } from "../errors.ts";
import { builtFile, loadAddon } from "./addon.ts";
import type { FloatKernels } from "./float-kernels.ts";
import { createFloatNative } from "./float-native.ts";
import { floatReference } from "./float-reference.ts";
import { createFloatWasm } from "./float-wasm.ts";

export type FloatKernelName = FloatKernels["name"];

const bestFirst: readonly FloatKernelName[] = ["native", "wasm", "reference"];

interface Choice {
  kernels: FloatKernels;
  detail: string;
  /** One line for each better implementation that was tried and failed. */
  refused: string[];
}

/**
 * The best float kernels that load here. MERGEN_KERNELS names the only implementation to try;
 * `prefer` names the first one, with the slower ones behind it.
 * @throws  E_USAGE when MERGEN_KERNELS names none; E_KERNEL when what it names does not load
 */
export async function loadFloatKernels(options?: {
  prefer?: FloatKernelName;
}): Promise<FloatKernels> {
  return (await choose(options?.prefer)).kernels;
}

/** One line: what loadFloatKernels takes here, and why nothing better. */
export async function describeFloatKernels(options?: {
  prefer?: FloatKernelName;
}): Promise<string> {
  const { detail, refused } = await choose(options?.prefer);
  return refused.length === 0 ? detail : `${detail} (${refused.join("; ")})`;
}

async function choose(prefer: FloatKernelName = "native"): Promise<Choice> {
  const forced = process.env.MERGEN_KERNELS;
  const names = forced ? [forcedName(forced)] : bestFirst.slice(bestFirst.indexOf(prefer));
  const refused: string[] = [];
  for (const name of names) {
    try {
      return { ...(await loadOne(name)), refused };
    } catch (error) {
      if (!(error instanceof MergenError)) throw error;
      refused.push(`${name}: ${error.message}`);
    }
  }
  throw new MergenError("E_KERNEL", `no float kernels: ${refused.join("; ")}`);
}

function forcedName(value: string): FloatKernelName {
  const name = bestFirst.find((candidate) => candidate === value);
  if (name !== undefined) return name;
  throw new MergenError("E_USAGE", `MERGEN_KERNELS must be one of ${bestFirst.join(", ")}`);
}

async function loadOne(name: FloatKernelName): Promise<Omit<Choice, "refused">> {
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

async function loadWasm(): Promise<Omit<Choice, "refused">> {
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
