// Chooses the ring kernels in Node: the native addon, else WebAssembly SIMD. Both are built into
// build/ at the package root. Tells what was chosen, and why.

import { readFile } from "node:fs/promises";
import { cpus } from "node:os";
import { ensure, MergenError } from "../errors.ts";
import { builtFile, findAddon, loadAddon } from "./addon.ts";
import {
  type Choice,
  choose,
  type KernelName,
  kernelsOfEnvironment,
  type Loaded,
} from "./choose.ts";
import { chooseChecksum } from "./crc-load.ts";
import { chooseFloatKernels } from "./float-load.ts";
import { createNativeRingKernels } from "./native.ts";
import { maxThreads, mayPark } from "./pool.ts";
import { startPool } from "./pool-node.ts";
import { referenceRingKernels } from "./reference.ts";
import type { RingKernels } from "./ring-kernels.ts";
import { loadWasmRingKernels, startEngine, WasmRingKernels } from "./wasm.ts";

export interface LoadRingOptions {
  /** The caller's among them; default MERGEN_THREADS, or one. */
  readonly threads?: number | undefined;
  /** The only implementation to try; default MERGEN_KERNELS, or the best that loads. */
  readonly kernels?: KernelName | undefined;
}

/**
 * The ring kernels. Threads take part in big jobs only and do not keep the process alive.
 * @throws  E_USAGE when MERGEN_THREADS is no count or MERGEN_KERNELS no name, E_KERNEL when what is
 *     asked for does not load, or nothing does
 */
export async function loadRingKernels(options: LoadRingOptions = {}): Promise<RingKernels> {
  return (await chooseRingKernels(options)).kernels;
}

function chooseRingKernels(options: LoadRingOptions): Promise<Choice<RingKernels>> {
  const threads = threadsOf(options);
  const environment = kernelsOfEnvironment();
  const forced = options.kernels ?? environment;
  const byEnvironment = options.kernels === undefined;
  return choose({
    kind: "ring",
    names: forced ? [forced] : ["native", "wasm"],
    forcedBy: forced && (byEnvironment ? `MERGEN_KERNELS=${forced}` : "the caller"),
    load: (name) => loadOne(name, threads),
  });
}

function threadsOf({ threads = threadsFromEnvironment() }: LoadRingOptions): number {
  const fits = Number.isInteger(threads) && threads >= 1 && threads <= maxThreads;
  const where = "set MERGEN_THREADS, or the option threads, to such a number";
  const message = `kernels run on 1 to ${maxThreads} threads, not on ${threads}; ${where}`;
  ensure(fits, "E_USAGE", message);
  return threads;
}

function threadsFromEnvironment(): number {
  const value = process.env.MERGEN_THREADS;
  return value === undefined || value === "" ? 1 : Number(value);
}

async function loadOne(name: KernelName, threads: number): Promise<Loaded<RingKernels>> {
  switch (name) {
    case "native": {
      const addon = loadAddon();
      const kernels = createNativeRingKernels(addon, { threads });
      return { kernels, detail: `native, ${Object.keys(addon)[0]}` };
    }
    case "wasm":
      return { kernels: await loadWasm(threads), detail: "wasm, SIMD" };
    case "reference":
      return { kernels: referenceRingKernels(), detail: "reference" };
    default:
      return name satisfies never;
  }
}

async function loadWasm(threads: number): Promise<RingKernels> {
  if (threads === 1 || !mayPark()) return loadWasmRingKernels(await readBuilt("ring.wasm"));
  const engine = await startEngine(await readBuilt("ring-threads.wasm"), { shared: true });
  return new WasmRingKernels(engine, await startPool({ ...engine, threads }));
}

async function readBuilt(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const path = builtFile(name);
  const remedy = `build/${name} is missing: run \`npm run build:wasm\``;
  ensure(path !== undefined, "E_KERNEL", remedy);
  return readFile(path);
}

/** Which kernels of a kind run, and why no better ones. */
export interface ChosenKernels {
  /** Undefined when none load. */
  readonly name: KernelName | undefined;
  /** "native, avx512", say. */
  readonly detail: string;
  readonly forcedBy: string | undefined;
  /** One line for each better implementation that was tried and failed. */
  readonly refused: readonly string[];
}

export interface KernelReport {
  readonly ring: ChosenKernels;
  readonly float: ChosenKernels;
  /** Of frames; "reference" is a Channel's own. */
  readonly checksum: ChosenKernels;
  /** Of the ring kernels, the caller's among them. */
  readonly threads: number;
  readonly processor: { readonly model: string; readonly cores: number };
  readonly addon: {
    readonly path: string | undefined;
    /** Those that this processor has, best first; none without an addon. */
    readonly instructionSets: readonly string[];
    /** Why there is no addon. */
    readonly problem: string | undefined;
  };
}

/**
 * What loadRingKernels and loadFloatKernels take here, and why.
 * @throws  E_USAGE as they do
 */
export async function describeKernels(options: LoadRingOptions = {}): Promise<KernelReport> {
  const ring = await summary(chooseRingKernels(options));
  const float = await summary(chooseFloatKernels());
  const { kernels, ...chosen } = await chooseChecksum();
  const checksum = { ...chosen, name: kernels ? ("native" as const) : ("reference" as const) };
  const state = findAddon();
  const [processor] = cpus();
  return {
    ring,
    float,
    checksum,
    threads: threadsOf(options),
    processor: { model: processor?.model.trim() ?? "unknown", cores: cpus().length },
    addon: {
      path: state.addon && state.path,
      instructionSets: Object.keys(state.addon ?? {}),
      problem: state.addon ? undefined : state.problem,
    },
  };
}

async function summary(
  choosing: Promise<Choice<{ name: KernelName; close?(): void }>>,
): Promise<ChosenKernels> {
  try {
    const { kernels, detail, forcedBy, refused } = await choosing;
    kernels.close?.();
    return { name: kernels.name, detail, forcedBy, refused };
  } catch (error) {
    if (!(error instanceof MergenError) || error.code !== "E_KERNEL") throw error;
    return { name: undefined, detail: "none", forcedBy: undefined, refused: [error.message] };
  }
}
