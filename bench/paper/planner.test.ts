// Plans in threads: the same costs as here, errors that keep their codes.

import { afterEach, expect, it } from "vitest";
import { loadFloatKernels, type PresetName, randomModel, servable } from "../../src/index.ts";
import { costsOf, stretchedCosts } from "./costs.ts";
import { Planner } from "./planner.ts";

const floats = await loadFloatKernels();
const planner = new Planner();
afterEach(() => planner.close());

function configOf(recipe: PresetName) {
  const model = randomModel({ shape: "tiny", recipe, positions: 24, seed: 1 }, floats);
  return servable(model, floats, { calibratedBounds: true }).config;
}

it("gives what planning here gives, more plans than threads", async () => {
  const config = configOf("vanilla");
  const method = { next: "lookup" } as const;
  const lengths = [6, 8, 10, 12, 14, 16, 18];
  const planned = lengths.map((length) => planner.costs({ config, method, length }));
  const stretched = { size: { shape: "tiny", layers: 6, vocabulary: 320 }, positions: 24 };
  const grown = planner.costs({ config, method, length: 8, stretched });
  for (const [i, length] of lengths.entries()) {
    expect(await planned[i]).toEqual(await costsOf(config, method, length));
  }
  expect(await grown).toEqual(await stretchedCosts(config, { method, length: 8, ...stretched }));
});

it("says why there is no plan, and goes on with the next", async () => {
  const { ranges: _ranges, wireBounds: _bounds, ...config } = configOf("vanilla");
  const method = { next: "lookup" } as const;
  const failing = planner.costs({ config, method, length: 8 });
  const next = planner.costs({ config: configOf("merge"), method: { next: "resend" }, length: 8 });
  await expect(failing).rejects.toMatchObject({ code: expect.stringMatching(/^E_(PLAN|CONFIG)$/) });
  expect((await next).multiplyAdds).toBeGreaterThan(0);
});
