// What the three benches have in common: a text that is too long is refused before any work.

import { describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { fixedBench, floatBench, insecureSecureBench } from "./local.ts";

const model = mergedModel({ bucket: 4, maxTokens: 4 });
const kernels = await loadRingKernels();
let runs = 0;
const benches = {
  float: floatBench(model, floatReference, () => {
    runs++;
  }),
  fixed: fixedBench(model, kernels, 1),
  secure: await insecureSecureBench(model, kernels, 1),
};

describe.each(Object.entries(benches))("%s", (mode, bench) => {
  it("refuses more tokens than the model has positions for, with the numbers", async () => {
    // Nine positions: four of the prompt, five of tokens, and the last token needs none.
    const asked = (maxTokens: number) => bench({ prompt: "pub", maxTokens, ignoreEnd: true });
    const { message } = await rejectionOf("E_PROMPT", () => asked(7));
    expect(message).toBe(
      "prompt and 7 tokens take 10 positions, the model has 9: ask for fewer tokens",
    );
    if (mode === "float") expect(runs).toBe(0);
    expect((await asked(6)).tokens).toHaveLength(6);
  });
});
