// Where seeds come from. Production uses fresh ones; the one-process test bench derives all of
// them from a number, so that the fixed and the secure mode of two separate invocations agree.

import { freshSeed } from "../ring/prg.ts";

/** A 32-byte seed for a purpose; the same label is never asked for twice in one generation. */
export type SeedSource = (label: string) => Promise<Uint8Array>;

/** From the platform's secure generator, whatever the label. */
export const freshSeeds: SeedSource = async () => freshSeed();

/** Labels of the seeds of one bundle. */
export const bundleLabels = (generation: string, bundle: number) => ({
  client: `${generation}/${bundle}/client`,
  server: `${generation}/${bundle}/server`,
  keys: `${generation}/${bundle}/keys`,
});

/** Label of the model's D_W. */
export const WEIGHTS_LABEL = "weights";

/** Seeds that follow from a number: for test benches alone, never for real prompts. */
export function insecureSeeds(seed: number): SeedSource {
  return async (label) => {
    const text = new TextEncoder().encode(`mergen insecure seed ${seed}: ${label}`);
    return new Uint8Array(await crypto.subtle.digest("SHA-256", text));
  };
}
