// Tests that need data too large for the repository: the folder `shared` beside it. Without it they
// are skipped by name; where CI=true its absence is a failure.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { it } from "vitest";

/** The folder, whether or not it exists. */
export const sharedFolder = fileURLToPath(new URL("../../shared", import.meta.url));

/** Whether a file or folder of it exists. */
export function hasShared(path: string): boolean {
  return existsSync(join(sharedFolder, path));
}

/** A test that gets the full path of a file or folder in `shared`. */
export function itWithShared(
  path: string,
  name: string,
  body: (fullPath: string) => void | Promise<void>,
): void {
  const present = hasShared(path);
  const skip = !present && process.env.CI !== "true";
  it.skipIf(skip)(`${name} (needs shared/${path})`, async () => {
    if (!present) throw new Error(`shared/${path} is missing beside the repository`);
    await body(join(sharedFolder, path));
  });
}
