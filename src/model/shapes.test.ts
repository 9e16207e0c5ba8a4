import { describe, expect, it } from "vitest";
import { errorOf } from "../../test/errors.ts";
import { promptPositions } from "./config.ts";
import { weightShapes } from "./decoder.ts";
import { shapeConfig, shapeNames } from "./shapes.ts";

/** Numbers in all tensors of a model as it is published, before its norms are folded. */
function count(options: Parameters<typeof shapeConfig>[0]): number {
  const config = shapeConfig(options);
  const norm = { ...config.norm, scale: true };
  const published = { ...config, norm, tiedHead: true, headBias: false };
  const shapes = [...weightShapes(published).values()];
  return shapes.reduce((sum, shape) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

describe("shapes", () => {
  /** As counted by the Hugging Face transformers library, and for gpt-391m by hand. */
  it.each([
    ["distilgpt2", 81_912_576],
    ["gpt2", 124_439_808],
    ["gpt2-medium", 354_823_168],
    ["gpt-391m", 391_645_800],
    ["gpt2-large", 774_030_080],
    ["gpt2-xl", 1_557_611_200],
  ])("%s has %i parameters as an ordinary decoder of 1024 positions", (shape, parameters) => {
    expect(count({ shape, recipe: "vanilla", positions: 1024 })).toBe(parameters);
  });

  it.each(shapeNames)("%s as a merged module", (shape) => {
    const config = shapeConfig({ shape, recipe: "merge" });
    expect(config).toMatchObject({ positionCount: 512, attention: "constant", residual: true });
    expect(config.generation).toEqual({ maxTokens: 64, chunk: 16, anchor: 0 });
    expect(promptPositions(config.prompt)).toBe(1);
  });

  it("has ordinary decoders as they are after import", () => {
    expect(shapeConfig({ shape: "gpt2", recipe: "vanilla" })).toMatchObject({
      norm: { kind: "layernorm", scale: false },
      scaledQuery: true,
      tiedHead: false,
      headBias: true,
      generation: { chunk: 1, anchor: 1 },
    });
  });

  it("takes other sizes, and leaves a prompt its room", () => {
    const sizes = { positions: 20, vocabulary: 300, layers: 3, bucket: 4 };
    const config = shapeConfig({ shape: "gpt2", recipe: "merge", norm: "affine", ...sizes });
    expect(config).toMatchObject({ positionCount: 20, vocabSize: 300, layerCount: 3 });
    expect(config.norm.kind).toBe("affine");
    expect(config.tokens).toEqual({ pad: 299, begin: 299, end: 299 });
    expect(config.generation.maxTokens).toBe(10);
    expect(promptPositions(config.prompt)).toBe(4);
  });

  it("refuses what it does not know", () => {
    const unknown = errorOf("E_CONFIG", () => shapeConfig({ shape: "gpt9", recipe: "merge" }));
    expect(unknown.message).toMatch(/take one of distilgpt2, gpt2/);
    const vanilla = { shape: "gpt2", recipe: "vanilla", norm: "affine" } as const;
    errorOf("E_CONFIG", () => shapeConfig(vanilla));
  });
});
