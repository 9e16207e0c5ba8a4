// Sessions in which tokens are found under masks: what options ask for it, when they end, and what
// is sent.

import { beforeAll, describe, expect, it } from "vitest";
import { errorOf, rejectionOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { createWorld } from "../../test/parties.ts";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import type { RingKernels } from "../kernel/ring-kernels.ts";
import { encodePrompt } from "../model/prompt.ts";
import { OPERAND_BITS } from "../plan/format.ts";
import { TOKENS } from "../plan/next-token.ts";
import { randomModel } from "../train/random-model.ts";
import { fixedBench } from "./local.ts";
import { Picker } from "./picker.ts";
import { generationOptions, planGeneration } from "./plan.ts";
import { servable } from "./servable.ts";

const model = mergedModel({ seed: 35, maxTokens: 8, anchor: 2, chunk: 3, spread: 2 });
const prompt = "pub";

let kernels: RingKernels;
beforeAll(async () => {
  kernels = await loadRingKernels();
});

describe("generationOptions", () => {
  const { config } = model;
  const optionsOf = (asked: Parameters<typeof generationOptions>[2]) => {
    const { anchor, next, reveal } = generationOptions(config, 4, asked);
    return { anchor, next, reveal };
  };

  it("states what `next` means for `anchor`, and nothing new where it is not asked for", () => {
    expect(Object.keys(generationOptions(config, 4, {}))).toEqual([
      "promptPositions",
      "maxTokens",
      "chunk",
      "anchor",
    ]);
    expect(optionsOf({})).toEqual({ anchor: 2 });
    expect(optionsOf({ next: "client" })).toEqual({ anchor: 1 });
    expect(optionsOf({ next: "resend" })).toEqual({ anchor: 2 });
    expect(optionsOf({ next: "resend", anchor: 3 })).toEqual({ anchor: 3 });
    expect(optionsOf({ next: "lookup" })).toEqual({ anchor: 0, next: "lookup", reveal: "token" });
    expect(optionsOf({ reveal: "token" })).toEqual({ anchor: 2, reveal: "token" });
    const always = { ...config, generation: { ...config.generation, anchor: 1 } };
    expect(generationOptions(always, 4, { next: "resend" }).anchor).toBe(0);
  });

  it("gives back what it has made, as a peer states it", () => {
    for (const asked of [{ next: "lookup" }, { next: "client", reveal: "token" }, {}] as const) {
      const made = generationOptions(config, 4, asked);
      expect(JSON.stringify(generationOptions(config, 4, made))).toBe(JSON.stringify(made));
    }
  });

  it("refuses options that contradict each other", () => {
    for (const asked of [
      { next: "lookup", anchor: 1 },
      { next: "client", anchor: 2 },
      { next: "resend", anchor: 1 },
      { next: "lookup", reveal: "logits" },
      { next: "lookup", sampling: { temperature: 1 } },
      { reveal: "token", sampling: { temperature: 0.5 } },
    ] as const) {
      errorOf("E_USAGE", () => generationOptions(config, 4, asked));
    }
    const lookedUp = { ...config, nextToken: "lookup" } as const;
    errorOf("E_CONFIG", () => generationOptions(lookedUp, 4, { next: "resend" }));
    expect(generationOptions(lookedUp, 4, { next: "lookup" }).next).toBe("lookup");
  });
});

describe("a session", () => {
  it("that looks up ends where the end token is found, and streams the text", async () => {
    const asked = { prompt, ignoreEnd: true, next: "lookup" } as const;
    const { tokens } = await fixedBench(model, kernels, 1)(asked);
    expect(new Set(tokens).size).toBeGreaterThan(2);
    // Another model, whose end token is one that this one finds halfway.
    const at = tokens.findIndex((token, i) => i >= 2 && tokens.indexOf(token) === i);
    const { config } = model;
    const ending = { ...config, tokens: { ...config.tokens, end: tokens[at]! } };
    const world = await createWorld({ model: { ...model, config: ending }, kernels });
    await world.server.register();
    const pieces: string[] = [];
    const run = await world.generate({
      prompt,
      next: "lookup",
      onText: (piece) => pieces.push(piece),
    });
    expect(run.stopped).toBe("end");
    expect(run.tokens).toEqual(tokens.slice(0, at));
    expect(pieces.join("")).toBe(run.text);
    for (const { ended } of world.services) expect(await ended).toBeUndefined();
  });

  it.each(["lookup", "client", "resend"] as const)(
    "ends in order wherever the end token is found, next by %s",
    async (next) => {
      const shape = {
        layerCount: 2,
        hiddenSize: 16,
        maxTokens: 12,
        anchor: 2,
        chunk: 5,
        spread: 2,
      };
      const large = mergedModel({ seed: 39, ...shape });
      const asked = { prompt, next, reveal: "token" } as const;
      const { tokens } = await fixedBench(large, kernels, 1)({ ...asked, ignoreEnd: true });
      const inPrompt = new Set(encodePrompt(prompt, large.config, large.tokenizer));
      const firsts = [...new Set(tokens)].filter((token) => !inPrompt.has(token));
      expect(firsts.length).toBeGreaterThan(2);
      for (const end of firsts) {
        const config = { ...large.config, tokens: { ...large.config.tokens, end } };
        const world = await createWorld({ model: { ...large, config }, kernels });
        await world.server.register();
        const run = await world.generate(asked);
        expect(run.tokens).toEqual(tokens.slice(0, tokens.indexOf(end)));
        for (const { ended } of world.services) expect(await ended).toBeUndefined();
      }
    },
  );

  it("refuses to sample what it does not see, before anything is dealt", async () => {
    const world = await createWorld({ model, kernels });
    await world.server.register();
    const sampling = { temperature: 1, seed: 3 };
    await rejectionOf("E_USAGE", () => world.generate({ prompt, next: "lookup", sampling }));
  });

  it("does not believe in a token that the vocabulary does not have", async () => {
    const plan = await planGeneration(
      model.config,
      generationOptions(model.config, 3, { next: "lookup" }),
    );
    const picker = new Picker(model.config, model.tokenizer, {});
    const shown = (token: number) => ({
      logits: new Map(),
      revealed: new Map([[TOKENS, Int32Array.of(token)]]),
    });
    errorOf("E_PROTOCOL", () => picker.takeShown(plan, shown(model.config.vocabSize)));
    picker.takeShown(plan, shown(5));
    expect(picker.tokens).toEqual([5]);
  });
});

describe("a plan that looks up", () => {
  it("has no logits, no id of the client after the prompt, and a row for each step", async () => {
    const options = generationOptions(model.config, 3, { next: "lookup", maxTokens: 4 });
    const { segments } = await planGeneration(model.config, options);
    const count = (kind: string) =>
      segments.flatMap(({ gates }) => gates).filter((gate) => gate.kind === kind).length;
    expect(count("logits")).toBe(0);
    expect(count("oneHot")).toBe(1);
    expect([count("argmax"), count("reveal"), count("indexOneHot")]).toEqual([4, 4, 3]);
  });

  it("masks the same tensors in the same order as every other plan", async () => {
    const tensorsOf = async (asked: Parameters<typeof generationOptions>[2]) =>
      (await planGeneration(model.config, generationOptions(model.config, 3, asked))).tensors;
    const usual = await tensorsOf({});
    for (const asked of [{ next: "lookup" }, { reveal: "token" }] as const) {
      expect(await tensorsOf(asked)).toEqual(usual);
    }
  });
});

it("a model with finer operands, and so finer logits, finds the tokens that C would pick", async () => {
  const floats = await loadFloatKernels();
  const options = { shape: "tiny", recipe: "vanilla", positions: 16, seed: 1 } as const;
  const fine = servable(randomModel(options, floats), floats);
  expect(fine.config.operandBits).toBeGreaterThan(OPERAND_BITS);
  const bench = fixedBench(fine, kernels, 1);
  const asked = { prompt: "aaaa", maxTokens: 4, ignoreEnd: true };
  const picked = await bench({ ...asked, next: "client" });
  const found = await bench({ ...asked, next: "lookup" });
  expect(found.tokens).toEqual(picked.tokens);
});
