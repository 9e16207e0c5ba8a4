import { describe, expect, it } from "vitest";
import { Progress, progressLine } from "./progress.ts";

const report = (loss: number, parts: Record<string, number>) => ({
  loss,
  parts,
  tokens: 10,
  multiplyAdds: 100,
});

describe("progress", () => {
  it("has means over threads and steps; parts over the steps that had them", () => {
    const progress = new Progress();
    progress.add([report(1, { ce: 1 }), report(3, { ce: 3 })], 5);
    progress.add([report(4, { ce: 4, align: 0.5 }), report(6, { ce: 6, align: 1.5 })], 7);
    const point = progress.at(2, 0.25);
    expect(point).toMatchObject({ step: 2, loss: 3.5, norm: 6, rate: 0.25 });
    expect(point.parts).toEqual({ ce: 3.5, align: 1 });
    const ratio = (point.gigaflopsPerSecond * 1e9) / point.tokensPerSecond;
    expect(ratio).toBeCloseTo(20, 6);
    const line = progressLine({ ...point, secondsPerStep: 3 }, 42);
    expect(line).toMatch(/^step 2\/42: loss 3\.5000 \(ce 3\.500, align 1\.000\), norm 6\.00/);
    expect(line).toMatch(/2\.0 min left$/);
  });

  it("begins anew after a line", () => {
    const progress = new Progress();
    progress.add([report(1, { ce: 1 })], 5);
    progress.restart();
    progress.add([report(2, { other: 2 })], 1);
    expect(progress.at(2, 0)).toMatchObject({ loss: 2, parts: { other: 2 }, norm: 1 });
  });
});
