import { describe, expect, it } from "vitest";
import { encodePrompt, loadModel, type Model, type ModelConfig } from "../../src/index.ts";
import { errorOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { promptOf } from "./bench-prompt.ts";

function textModel(prompt: Partial<Extract<ModelConfig["prompt"], { kind: "text" }>>): Model {
  const made = mergedModel({ maxTokens: 4 });
  const layout = { kind: "text", bucket: 1, ...prompt } as const;
  return { ...made, config: { ...made.config, prompt: layout, positionCount: 15 } };
}

/** Tokens that a prompt says it has, after checking that it has them. */
function tokensOf(model: Model, asked: number | undefined): number {
  const { text, tokens } = promptOf(model, asked);
  expect(encodePrompt(text, model.config, model.tokenizer)).toHaveLength(tokens);
  return tokens;
}

describe("a prompt to measure with", () => {
  it("of free text has as many tokens as are asked for", () => {
    for (const model of [textModel({}), textModel({ begin: true }), textModel({ prefix: " " })]) {
      for (const asked of [2, 3, 7, 12]) expect(tokensOf(model, asked)).toBe(asked);
      expect(tokensOf(model, undefined)).toBe(4);
    }
  });

  it("is of whole buckets", () => {
    const model = textModel({ bucket: 5 });
    expect(tokensOf(model, 10)).toBe(10);
    expect(tokensOf(model, undefined)).toBe(5);
    for (const asked of [4, 12, 15]) {
      const { message } = errorOf("E_USAGE", () => promptOf(model, asked));
      expect(message).toBe("the model takes prompts of 5 to 10 tokens, multiples of 5");
    }
  });

  it("of slots has their length", async () => {
    const model = await loadModel("models/e2e-teacher");
    expect([tokensOf(model, undefined), tokensOf(model, 15)]).toEqual([15, 15]);
    expect(errorOf("E_USAGE", () => promptOf(model, 16)).message).toMatch(/slots and have 15/);
  });
});
