// Scores of a whole set of outputs.

import { ensure } from "../errors.ts";
import type { Example } from "./data.ts";
import { nameCoverage } from "./names.ts";
import { corpusRougeL } from "./rouge.ts";

export interface CorpusScore {
  readonly count: number;
  /** rouge_score F1 without stemming, best reference, mean over the set. */
  readonly rougeL: number;
  /** Share of the outputs that hold the name of their input; 1 where no input has a name. */
  readonly nameCoverage: number;
  /** Share of the outputs that reached the end token, where that is known. */
  readonly endReached: number | undefined;
}

/** One output per example, in order. @throws E_DATA when their numbers differ */
export function scoreOutputs(
  examples: readonly Example[],
  outputs: readonly { readonly text: string; readonly stopped?: string | undefined }[],
): CorpusScore {
  ensure(
    examples.length === outputs.length,
    "E_DATA",
    `${outputs.length} outputs stand against ${examples.length} examples`,
  );
  const texts = outputs.map(({ text }) => text);
  const pairs = examples.map(({ input }, i) => ({ input, output: texts[i]! }));
  const stops = outputs.map(({ stopped }) => stopped).filter((stopped) => stopped !== undefined);
  const names = nameCoverage(pairs);
  return {
    count: examples.length,
    rougeL: corpusRougeL(
      texts,
      examples.map(({ refs }) => refs),
    ),
    nameCoverage: names.counted === 0 ? 1 : names.share,
    endReached:
      stops.length === outputs.length
        ? stops.filter((stopped) => stopped === "end").length / stops.length
        : undefined,
  };
}
