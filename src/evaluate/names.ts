// Name coverage: how often a text holds the name that its input gives, letter by letter. Word
// overlap barely moves when a model writes the wrong name; a reader notices nothing else.

export interface NameCoverage {
  /** Outputs that hold their input's name. */
  readonly covered: number;
  /** Inputs that give a name; the others are not counted. */
  readonly counted: number;
  /** covered / counted, 0 when nothing is counted. */
  readonly share: number;
}

/** The value of the slot `name` of `name[The Vaults], eatType[pub], ...`; undefined without one. */
export function nameOf(input: string): string | undefined {
  const match = /(?:^|\],)\s*name\[/.exec(input);
  if (match === null) return undefined;
  const start = match.index + match[0].length;
  let depth = 1;
  for (let i = start; i < input.length; i++) {
    if (input[i] === "[") depth++;
    else if (input[i] === "]" && --depth === 0) return input.slice(start, i).trim() || undefined;
  }
  return undefined;
}

/** Over all pairs of input and output, the share of outputs that hold the input's name. */
export function nameCoverage(
  pairs: Iterable<{ readonly input: string; readonly output: string }>,
): NameCoverage {
  let covered = 0;
  let counted = 0;
  for (const { input, output } of pairs) {
    const name = nameOf(input);
    if (name === undefined) continue;
    counted++;
    if (output.includes(name)) covered++;
  }
  return { covered, counted, share: counted === 0 ? 0 : covered / counted };
}
