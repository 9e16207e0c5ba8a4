// Chooses one implementation of kernels among several: the first that loads, or the one that is
// forced. Keeps why better ones were passed over. Node only.

import { MergenError } from "../errors.ts";

/** Kernels and, in a word or two, what they are: "native, avx512". */
export interface Loaded<Kernels> {
  readonly kernels: Kernels;
  readonly detail: string;
}

export interface Choice<Kernels> extends Loaded<Kernels> {
  /** What forced the choice, if anything. */
  readonly forcedBy: string | undefined;
  /** One line for each better implementation that was tried and failed. */
  readonly refused: readonly string[];
}

/** What every kind of kernels comes in. */
export const kernelNames = ["native", "wasm", "reference"] as const;

export type KernelName = (typeof kernelNames)[number];

/**
 * What MERGEN_KERNELS names, if it is set.
 * @throws  E_USAGE when that is none of the names
 */
export function kernelsOfEnvironment(): KernelName | undefined {
  const value = process.env.MERGEN_KERNELS;
  if (value === undefined || value === "") return undefined;
  const name = kernelNames.find((candidate) => candidate === value);
  if (name !== undefined) return name;
  throw new MergenError("E_USAGE", `MERGEN_KERNELS must be one of ${kernelNames.join(", ")}`);
}

/**
 * @throws  E_KERNEL with every reason when none of `names` loads
 */
export async function choose<Kernels>(options: {
  /** "ring" or "float". */
  readonly kind: string;
  /** Best first. */
  readonly names: readonly KernelName[];
  readonly forcedBy: string | undefined;
  load(name: KernelName): Promise<Loaded<Kernels>>;
}): Promise<Choice<Kernels>> {
  const { kind, names, forcedBy, load } = options;
  const refused: string[] = [];
  for (const name of names) {
    try {
      return { ...(await load(name)), forcedBy, refused };
    } catch (error) {
      if (!(error instanceof MergenError)) throw error;
      refused.push(`${name}: ${error.message}`);
    }
  }
  const forced = forcedBy === undefined ? "" : ` (forced by ${forcedBy})`;
  throw new MergenError("E_KERNEL", `no ${kind} kernels${forced}: ${refused.join("; ")}`);
}

/** One line: what was taken, and why nothing better. */
export function describe({ detail, forcedBy, refused }: Choice<unknown>): string {
  const why = forcedBy === undefined ? refused : [`forced by ${forcedBy}`, ...refused];
  return why.length === 0 ? detail : `${detail} (${why.join("; ")})`;
}
