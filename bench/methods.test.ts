import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { methodsPage } from "./methods.ts";

it("docs/methods.md is what `npm run methods` makes", async () => {
  const written = readFileSync(new URL("../docs/methods.md", import.meta.url), "utf8");
  expect(await methodsPage()).toBe(written);
}, 120_000);
