// That what is modelled follows from the plan of the right model.

import { describe, expect, it } from "vitest";
import { loadFloatKernels, randomModel } from "../../src/index.ts";
import { repeatedConfig, tokenCost } from "./scaling.ts";

const options = { shape: "tiny", recipe: "merge", norm: "layernorm", seed: 1 } as const;

describe("a config of repeated layers", () => {
  it("is the made one, where there is but one", async () => {
    const made = randomModel({ ...options, layers: 1 }, await loadFloatKernels());
    expect(await repeatedConfig("tiny", 1)).toEqual(made.config);
  });

  it("plans as many round trips and multiply-adds as a real model of so many layers", async () => {
    const made = randomModel({ ...options, layers: 3 }, await loadFloatKernels());
    const [repeated, real] = [
      await tokenCost(await repeatedConfig("tiny", 3), 9),
      await tokenCost(made.config, 9),
    ];
    expect(repeated.roundTrips).toBe(real.roundTrips);
    expect(repeated.multiplyAdds).toBe(real.multiplyAdds);
    expect(repeated.onlineBytes).toBeGreaterThan(0);
    expect(repeated.offlineBytes).toBeGreaterThan(0);
  });

  it("costs more with more layers", async () => {
    const [two, four] = [
      await tokenCost(await repeatedConfig("tiny", 2), 9),
      await tokenCost(await repeatedConfig("tiny", 4), 9),
    ];
    for (const key of ["roundTrips", "onlineBytes", "offlineBytes", "multiplyAdds"] as const) {
      expect(four[key]).toBeGreaterThan(two[key]);
    }
  });
});
