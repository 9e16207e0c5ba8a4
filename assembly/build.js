// Builds the WebAssembly kernels: node assembly/build.js
// Outputs newer than every source are kept. A build appears whole or not at all (rename).

import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const sources = dirname(fileURLToPath(import.meta.url));
const root = dirname(sources);
const common = ["-O3", "--noAssert", "--runtime", "stub", "--enable", "simd"];

const modules = [
  { entry: "ring.ts", out: "ring.wasm", flags: ["--importMemory"] },
  {
    entry: "ring.ts",
    out: "ring-threads.wasm",
    flags: [
      ...["--importMemory", "--sharedMemory", "--enable", "threads"],
      ...["--initialMemory", "32", "--maximumMemory", "65536"],
    ],
  },
  { entry: "float.ts", out: "float.wasm", flags: ["--enable", "relaxed-simd"] },
  { entry: "float.ts", out: "float-simd.wasm", flags: [] },
];

const newestSource = Math.max(
  ...readdirSync(sources).map((name) => statSync(join(sources, name)).mtimeMs),
);
mkdirSync(join(root, "build"), { recursive: true });
for (const { entry, out, flags } of modules) {
  if (!existsSync(join(sources, entry))) continue;
  const target = join(root, "build", out);
  if (existsSync(target) && statSync(target).mtimeMs >= newestSource) continue;
  await build(entry, out, flags);
}

async function build(entry, out, flags) {
  const temporary = `build/${out}.${process.pid}.tmp`;
  const { error, stderr } = await asc.main(
    [`assembly/${entry}`, "--baseDir", root, "--outFile", temporary, ...common, ...flags],
    {},
  );
  if (error) {
    rmSync(join(root, temporary), { force: true });
    process.stderr.write(`${entry}: ${error.message}\n${stderr.toString()}\n`);
    process.exit(1);
  }
  renameSync(join(root, temporary), join(root, "build", out));
  process.stdout.write(`built build/${out}\n`);
}
