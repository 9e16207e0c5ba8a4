// Where the package lies and which version it is, from a clone and from dist/ alike.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder that holds package.json. */
export function packageRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, "package.json"))) dir = dirname(dir);
  return dir;
}

export function packageVersion(): string {
  return JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")).version;
}

/** The launcher, for starting further processes of this same program. */
export function launcher(): string {
  return join(packageRoot(), "bin", "mergen.js");
}

/** A model that comes with the package. */
export function shippedModel(name: string): string {
  return join(packageRoot(), "models", name);
}
