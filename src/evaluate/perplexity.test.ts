import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { Graph } from "../graph/graph.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { floatReference } from "../kernel/float-reference.ts";
import { decoder, embed, head } from "../model/decoder.ts";
import { encodePrompt } from "../model/prompt.ts";
import type { LocalModel } from "../party/local.ts";
import { FloatProgram } from "../run/float.ts";
import { likelihoodUnder, perplexity } from "./perplexity.ts";

const input = "pub";
const text = "the  pub\n";
/** " the pub" and the end token: blanks are one byte each. */
const words = " the pub";

/** The log-probability by one pass over all positions, each of which sees the tokens before it. */
function inOnePass(model: LocalModel): { logProbability: number; tokens: number } {
  const { config, tokenizer, weights } = model;
  const prompt = encodePrompt(input, config, tokenizer);
  const targets = [...tokenizer.encode(words), config.tokens.end];
  const ids = [...prompt, ...targets.slice(0, -1)];
  const graph = new Graph();
  const x = embed(graph, config, graph.ids("ids", [ids.length]));
  graph.output("logits", head(graph, config, decoder(graph, config, { x, start: 0 }).hidden));
  const program = new FloatProgram(graph, floatReference);
  program.run(new Map([["ids", Int32Array.from(ids)]]), { get: (name) => weights.get(name)?.data });
  const values = program.value("logits");
  const terms = targets.map((target, i) => {
    const from = (prompt.length + i - 1) * config.vocabSize;
    const row = [...values.subarray(from, from + config.vocabSize)];
    return row[target] - Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
  });
  return { logProbability: terms.reduce((a, b) => a + b), tokens: targets.length };
}

describe("perplexity", () => {
  const model = mergedModel({ maxTokens: 12, bucket: 4, layerCount: 2, spread: 8 });

  it("with every token looked up is that of one pass over all positions", async () => {
    const expected = inOnePass(model);
    for (const kernels of [floatReference, await loadFloatKernels()]) {
      const likelihood = likelihoodUnder(model, kernels, { anchor: 1 });
      for (let again = 0; again < 2; again++) {
        const { logProbability, tokens } = likelihood(input, text);
        expect(tokens).toBe(expected.tokens);
        expect(logProbability).toBeCloseTo(expected.logProbability, 4);
      }
    }
  });

  it("otherwise is that of a generation, whose states do not know the text", () => {
    const likelihood = likelihoodUnder(model, floatReference, { anchor: 0 });
    const first = (of: string) => likelihood(input, of).logProbability;
    // Of texts of one length, swapping two tokens that come after swaps no state.
    const [a, b, c, d] = ["ab", "ac", "bb", "bc"].map(first);
    expect(a - b).toBeCloseTo(c - d, 4);
    const looked = likelihoodUnder(model, floatReference, { anchor: 1 });
    const [e, f, g, h] = ["ab", "ac", "bb", "bc"].map((of) => looked(input, of).logProbability);
    expect(Math.abs(e - f - (g - h))).toBeGreaterThan(1e-3);
  });

  it("of a corpus is over all tokens", () => {
    const texts = [
      { logProbability: -3, tokens: 1 },
      { logProbability: -3, tokens: 5 },
    ];
    expect(perplexity(texts)).toBeCloseTo(Math.E, 12);
    errorOf("E_DATA", () => perplexity([]));
  });

  it("counts the end token of an empty text", () => {
    const likelihood = likelihoodUnder(model, floatReference);
    expect(likelihood(input, " ").tokens).toBe(1);
  });

  it("refuses a text that is too long", () => {
    const likelihood = likelihoodUnder(model, floatReference);
    const { message } = errorOf("E_DATA", () => likelihood(input, "x".repeat(40)));
    expect(message).toMatch(/has 42 tokens, the model has room for \d+; shorten it/);
  });
});
