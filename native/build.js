// Builds build/native.node with the C++ compiler alone: no node-gyp, no headers. Runs when the
// package is installed, and in a clone with npm ci. The addon is optional: without a compiler, or
// in a folder that cannot be written, this says so and succeeds, and the WASM kernels serve.
// Usage: node native/build.js [--force]
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const buildDir = join(here, "..", "build");
const target = join(buildDir, "native.node");

const avx512Flags = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"];
const amxFlags = [...avx512Flags, "-mavx512vbmi"];
const avx2Flags = ["-mavx2", "-mfma"];

/**
 * Each source with the flags of its instruction set, and those to try when they fail; x64 only
 * where it names one.
 */
const sources = [
  { file: "addon.cc", flags: [] },
  { file: "addon_f32.cc", flags: [] },
  { file: "addon_ring.cc", flags: [] },
  { file: "addon_tree.cc", flags: [] },
  { file: "addon_product.cc", flags: [] },
  { file: "addon_piecewise.cc", flags: [] },
  { file: "addon_crc.cc", flags: [] },
  { file: "addon_limits.cc", flags: [] },
  { file: "f32_portable.cc", flags: [] },
  { file: "f32_avx2.cc", flags: avx2Flags, arch: "x64" },
  { file: "f32_avx512.cc", flags: avx512Flags, arch: "x64" },
  { file: "ring_portable.cc", flags: [] },
  { file: "ring_avx2.cc", flags: avx2Flags, arch: "x64" },
  { file: "ring_avx512.cc", flags: avx512Flags, arch: "x64" },
  { file: "tree_portable.cc", flags: [] },
  { file: "tree_avx2.cc", flags: avx2Flags, arch: "x64" },
  { file: "tree_avx512.cc", flags: avx512Flags, arch: "x64" },
  { file: "tree_aesni.cc", flags: [...avx2Flags, "-maes"], arch: "x64" },
  { file: "tree_vaes.cc", flags: [...avx512Flags, "-maes", "-mvaes"], arch: "x64" },
  { file: "crc_portable.cc", flags: [] },
  { file: "crc_sse42.cc", flags: ["-msse4.2"], arch: "x64" },
  { file: "limits_portable.cc", flags: [] },
  { file: "limits_avx2.cc", flags: [...avx2Flags, "-maes"], arch: "x64" },
  { file: "limits_avx512.cc", flags: [...avx512Flags, "-maes", "-mvaes"], arch: "x64" },
  { file: "limits_amx.cc", flags: ["-DMERGEN_TILES"], otherwise: [], arch: "x64" },
  { file: "memory.cc", flags: [] },
  { file: "threads.cc", flags: [] },
  { file: "product_portable.cc", flags: [] },
  { file: "product_avx2.cc", flags: avx2Flags, arch: "x64" },
  { file: "product_avx512.cc", flags: avx512Flags, arch: "x64" },
  // Older assemblers lack its instructions; without VBMI it compiles to an empty table.
  { file: "product_amx.cc", flags: amxFlags, otherwise: avx512Flags, arch: "x64" },
].filter((source) => source.arch === undefined || source.arch === process.arch);

const commonFlags = [
  ...["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti"],
  ...["-ffp-contract=fast", "-fno-math-errno", "-Wall", "-Wextra", "-pthread"],
];
// The Node-API symbols come from the running node; on macOS the linker must be told so.
const linkFlags =
  process.platform === "darwin"
    ? ["-bundle", "-undefined", "dynamic_lookup"]
    : ["-shared", "-pthread", "-static-libstdc++", "-static-libgcc", "-Wl,--exclude-libs,ALL"];

function upToDate() {
  if (!existsSync(target)) return false;
  const builtMs = statSync(target).mtimeMs;
  return readdirSync(here).every((name) => statSync(join(here, name)).mtimeMs <= builtMs);
}

function findCompiler() {
  const candidates = [process.env.CXX, "g++", "c++", "clang++"].filter(Boolean);
  return candidates.find((name) => spawnSync(name, ["--version"]).status === 0);
}

function run(compiler, args) {
  const result = spawnSync(compiler, args, { cwd: here, encoding: "utf8" });
  if (result.status === 0) return true;
  console.error(`native: ${compiler} ${args.join(" ")}\n${result.stderr}`);
  return false;
}

/** Compiles into a folder of its own and renames, so that a half-written addon is never loaded. */
function build(compiler) {
  const scratch = join(buildDir, `native-${process.pid}`);
  mkdirSync(scratch, { recursive: true });
  try {
    const objects = [];
    for (const { file, flags, otherwise } of sources) {
      const object = join(scratch, file.replace(/\.cc$/, ".o"));
      const compile = (own) => run(compiler, [...commonFlags, ...own, "-c", file, "-o", object]);
      if (!compile(flags) && !(otherwise && compile(otherwise))) return false;
      objects.push(object);
    }
    const linked = join(scratch, "native.node");
    if (!run(compiler, [...linkFlags, ...objects, "-o", linked])) return false;
    renameSync(linked, target);
    return true;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function main() {
  if (!process.argv.includes("--force") && upToDate()) return;
  const compiler = process.platform === "win32" ? undefined : findCompiler();
  if (compiler === undefined) {
    console.log("native: no C++ compiler found; the WASM kernels serve instead");
  } else if (build(compiler)) {
    console.log(`native: built build/native.node with ${compiler}`);
  } else {
    rmSync(target, { force: true });
    console.log("native: the compiler failed; the WASM kernels serve instead");
  }
}

try {
  main();
} catch (error) {
  console.log(`native: ${error.message}; the WASM kernels serve instead`);
}
