import { spawnSync } from "node:child_process";
import { join } from "node:path";
import type { Command } from "commander";
import {
  crc32c,
  describeKernels,
  type KernelReport,
  loadCrc32c,
  loadFloatKernels,
  loadRingKernels,
  MergenError,
  testCrc32c,
  testFloatKernels,
  testRingKernels,
} from "../../../src/index.ts";
import { printJson } from "../output.ts";
import { packageRoot, packageVersion } from "../package-info.ts";

/** What loading and testing a kernel set gave; `problem` where it does not load. */
interface SelfTest {
  readonly problem?: string;
  readonly failed: readonly string[];
}

interface Diagnosis {
  readonly version: string;
  readonly node: { readonly version: string; readonly path: string };
  readonly platform: string;
  readonly kernels: KernelReport;
  readonly selfTests: Record<"ring" | "float" | "wasm" | "checksum", SelfTest>;
  /** A C++ compiler on the PATH. */
  readonly compiler: string | null;
  readonly advice: string | null;
}

/** `mergen doctor`: which kernels run here, whether they are right, and why not faster ones. */
export function addDoctor(root: Command): void {
  root
    .command("doctor")
    .description("say which kernels run here and why, and test them")
    .option("--json", "print one compact JSON object")
    .addHelpText(
      "after",
      "\nExamples:\n  $ mergen doctor\n  $ MERGEN_KERNELS=wasm mergen doctor --json",
    )
    .action(doctor);
}

async function doctor(flags: { json?: boolean }): Promise<void> {
  const diagnosis = await diagnose();
  if (flags.json) printJson(diagnosis);
  else process.stdout.write(`${lines(diagnosis).join("\n")}\n`);
  const broken = Object.entries(diagnosis.selfTests).flatMap(([kind, { problem, failed }]) => {
    if (failed.length > 0) return [`the ${kind} kernels get ${failed.join(", ")} wrong`];
    return problem !== undefined && kind !== "wasm" ? [problem] : [];
  });
  if (broken.length > 0) throw new MergenError("E_KERNEL", broken.join("; "));
}

async function diagnose(): Promise<Diagnosis> {
  const kernels = await describeKernels();
  const compiler = findCompiler();
  const selfTests = {
    ring: await selfTest(loadRingKernels, testRingKernels),
    float: await selfTest(loadFloatKernels, testFloatKernels),
    checksum: await selfTest(async () => (await loadCrc32c()) ?? crc32c, testCrc32c),
    wasm: await selfTest(() => loadRingKernels({ kernels: "wasm", threads: 1 }), testRingKernels),
  };
  return {
    version: packageVersion(),
    node: { version: process.version, path: process.execPath },
    platform: `${process.platform} ${process.arch}`,
    kernels,
    selfTests,
    compiler: compiler ?? null,
    advice: adviceOn(kernels, selfTests, compiler) ?? null,
  };
}

async function selfTest<Kernels>(
  load: () => Promise<Kernels>,
  test: (kernels: Kernels) => string[],
): Promise<SelfTest> {
  try {
    return { failed: test(await load()) };
  } catch (error) {
    if (!(error instanceof MergenError)) throw error;
    return { problem: error.message, failed: [] };
  }
}

/** The compiler that native/build.js would take. */
function findCompiler(): string | undefined {
  const candidates = [process.env.CXX, "g++", "c++", "clang++"].filter((name) => name);
  return candidates.find((name) => spawnSync(name!, ["--version"]).status === 0);
}

/** What to do about kernels that are wrong, missing or slower than they could be. */
function adviceOn(
  { ring, float }: KernelReport,
  selfTests: Diagnosis["selfTests"],
  compiler: string | undefined,
): string | undefined {
  const root = packageRoot();
  const build = `node ${join(root, "native", "build.js")} --force`;
  const wrong = [selfTests.ring, selfTests.float, selfTests.checksum];
  if (wrong.some(({ failed }) => failed.length > 0)) {
    return ring.name === "native"
      ? `build the addon anew (${build}), or set MERGEN_KERNELS=wasm`
      : "install the package anew";
  }
  if (selfTests.wasm.problem !== undefined) return `npm run build:wasm in ${root}`;
  if (ring.name === "native" && float.name === "native") return undefined;
  const forcedBy = ring.forcedBy ?? float.forcedBy;
  if (forcedBy !== undefined) return `unset MERGEN_KERNELS for the fastest kernels (${forcedBy})`;
  if (process.platform === "win32") return undefined; // the addon is not built there
  if (compiler === undefined) return `install a C++ compiler, g++ say, and run ${build}`;
  return `for the native kernels run ${build}`;
}

function lines(diagnosis: Diagnosis): string[] {
  const { version, node, platform, kernels, selfTests, compiler, advice } = diagnosis;
  const { ring, float, checksum, threads, processor, addon } = kernels;
  const sets = addon.instructionSets.join(", ");
  const rows: [string, string][] = [
    ["mergen", version],
    ["node", `${node.version}, ${node.path}`],
    ["platform", platform],
    ["processor", `${processor.model}, ${processor.cores} cores`],
    ["instruction sets", sets || "unknown without the addon"],
    ["ring kernels", `${chosen(ring)}; threads: ${threads}`],
    ["", verdict(selfTests.ring)],
    ["float kernels", chosen(float)],
    ["", verdict(selfTests.float)],
    ["frame checksums", chosen(checksum)],
    ["", verdict(selfTests.checksum)],
    ["WebAssembly", verdict(selfTests.wasm)],
    ["native addon", addon.path ?? addon.problem ?? "none"],
    ["C++ compiler", compiler ?? "none on the PATH"],
    ...(advice === null ? [] : [["advice", advice] as [string, string]]),
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

function chosen({ detail, forcedBy, refused }: KernelReport["ring"]): string {
  const why = forcedBy === undefined ? refused : [`forced by ${forcedBy}`, ...refused];
  return why.length === 0 ? detail : `${detail} (${why.join("; ")})`;
}

function verdict({ problem, failed }: SelfTest): string {
  if (problem !== undefined) return problem;
  return failed.length === 0 ? "self-test passed" : `self-test failed: ${failed.join(", ")}`;
}
