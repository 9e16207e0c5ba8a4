// Tests of a full disk: they need the device that is always full. Where there is none they are
// skipped by name; where CI=true its absence is a failure.

import { writeFile } from "node:fs/promises";
import { it } from "vitest";

/** Writing to it gives ENOSPC. */
export const fullDevice = "/dev/full";

const hasFullDevice = await writeFile(fullDevice, "x").then(
  () => false,
  (error: NodeJS.ErrnoException) => error.code === "ENOSPC",
);

/** A test that writes to the full device. */
export function itOnFullDevice(name: string, body: () => Promise<void>): void {
  const skip = !hasFullDevice && process.env.CI !== "true";
  it.skipIf(skip)(`${name} (needs ${fullDevice})`, async () => {
    if (!hasFullDevice) throw new Error(`${fullDevice} is missing or not full`);
    await body();
  });
}
