// The usual folder of models to measure with: what nobody has measured for long goes. A model's
// config.json has the time of its last use.

import { existsSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";

/** Days after which a model that is not used is removed. */
export const UNUSED_DAYS = 7;
const DAY_MS = 24 * 60 * 60 * 1000;

/** Says of a model's config.json that it is used now; of no consequence where that is forbidden. */
export function markUsed(config: string): void {
  try {
    const now = new Date();
    utimesSync(config, now, now);
  } catch {
    // Somebody else's file is as old as its owner left it.
  }
}

/**
 * Removes the models below a folder that are not used for long; the names of those. Nothing else
 * than folders of models is touched, and what cannot be removed stays.
 */
export function removeUnusedModels(work: string, now = Date.now()): string[] {
  if (!existsSync(work)) return [];
  return readdirSync(work, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && isUnused(join(work, entry.name), now))
    .map(({ name }) => name)
    .filter((name) => removed(join(work, name)));
}

function isUnused(folder: string, now: number): boolean {
  const used = statSync(join(folder, "config.json"), { throwIfNoEntry: false })?.mtimeMs;
  return used !== undefined && now - used > UNUSED_DAYS * DAY_MS;
}

function removed(folder: string): boolean {
  try {
    rmSync(folder, { recursive: true, force: true });
    return true;
  } catch {
    return false;
  }
}
