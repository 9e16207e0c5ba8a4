// Builds dist/ from the TypeScript sources, aside and then renamed; skips when it is up to date.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const target = join(root, "dist");
const aside = join(root, `dist.${process.pid}.partial`);

function newest(dir) {
  let latest = 0;
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    latest = Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs);
  }
  return latest;
}

const sources = ["src", "apps", "bench"].map((name) => newest(join(root, name)));
const marker = join(target, "apps", "cli", "main.js");
if (!existsSync(marker) || statSync(marker).mtimeMs < Math.max(...sources)) {
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const args = [tsc, "-p", join(root, "tsconfig.build.json"), "--outDir", aside];
  const { status } = spawnSync(process.execPath, args, { stdio: "inherit", cwd: root });
  if (status !== 0) {
    rmSync(aside, { recursive: true, force: true });
    process.exit(status ?? 1);
  }
  rmSync(target, { recursive: true, force: true });
  renameSync(aside, target);
}
