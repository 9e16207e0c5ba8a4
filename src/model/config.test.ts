// A config's errors: the key that is wrong and what it should be, in a browser's build as well.

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { root } from "../../test/tidy.ts";
import { MergenError } from "../errors.ts";
import { parseConfig } from "./config.ts";

const shipped = JSON.parse(readFileSync(`${root}models/e2e-merge/config.json`, "utf8"));

const attention = { kind: "2quad" };

describe("a config", () => {
  const wrong: [change: object, message: string][] = [
    [{ headCount: 0 }, "headCount: Too small: expected number to be >0"],
    [{ layerCount: "2" }, "layerCount: Invalid input: expected number, received string"],
    [{ nextToken: "guess" }, 'nextToken: Invalid option: expected one of "lookup"|"resend"'],
    [{ operandBits: 21 }, "operandBits: Too big: expected number to be <=20"],
    [{ prompt: { kind: "slots", slots: [] } }, "prompt.slots: Too small: expected array to have"],
    [{ hybrid: { layers: [9], attention } }, "hybrid.layers: the model has 4 layers"],
    [{ hybrid: { layers: [0], attention: { kind: "the-x" } } }, "hybrid layers have no attention"],
    [{ hybrid: { layers: [], attention } }, "hybrid.layers: Too small"],
    [{ attention, hybrid: { layers: [0], attention } }, "hybrid is a merged module's"],
    [{ extra: 1 }, 'the whole: Unrecognized key: "extra"'],
  ];
  it.each(wrong)("with %j is refused", (change, message) => {
    let error: unknown;
    try {
      parseConfig({ ...shipped, ...change }, "a/config.json");
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(MergenError);
    expect((error as MergenError).code).toBe("E_MODEL");
    expect((error as MergenError).message).toContain(`a/config.json: ${message}`);
  });

  it("of the shipped model is taken as it is", () => {
    expect(parseConfig(shipped)).toEqual(shipped);
  });
});
