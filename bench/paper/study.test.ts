// The study's parts against parties in this process: that what is modelled is what is sent, and
// that its tables and plots can be read.

import { beforeAll, describe, expect, it } from "vitest";
import {
  loadFloatKernels,
  loadRingKernels,
  type Model,
  type PresetName,
  parts,
  randomModel,
  servable,
  svgOf,
} from "../../src/index.ts";
import { createWorld } from "../../test/parties.ts";
import { modelledCell, runCell, sampledCell, totalsOf, withoutForm } from "./cells.ts";
import { costsOf, stretched, stretchedCosts } from "./costs.ts";
import { GateTimes } from "./gate-times.ts";
import { Runner } from "./measure.ts";
import { type Method, methodOf, methods } from "./methods.ts";
import { millionParameters, plots } from "./plots.ts";
import { ratesOf } from "./rates.ts";
import { type Measurement, PAPER_FORMAT, type PaperResult } from "./result.ts";
import { tables } from "./tables.ts";

const kernels = await loadRingKernels();
const floats = await loadFloatKernels();

function modelOf(recipe: PresetName, layers?: number): Model {
  const options = { shape: "tiny", recipe, positions: 24, seed: 1, layers };
  return servable(randomModel(options, floats), floats, { calibratedBounds: true });
}

const models = new Map(
  (["vanilla", "merge", "merge-mm"] as const).map((name) => [name as string, modelOf(name)]),
);

/** Runs of a method as the study makes them, over memory. */
async function measured(
  method: Method,
  sizes: readonly { promptTokens: number; tokens: number }[],
) {
  const model = models.get(method.name)!;
  const gates = new GateTimes();
  const world = await createWorld({ model, kernels, server: { watch: gates.watch } });
  await world.server.register();
  const runner = new Runner({
    parties: {
      connectServer: world.connectServer,
      connectDealer: world.connectDealer,
      report: async () => ({ maxRssBytes: 0, cpuSeconds: 0, gates: gates.report() }),
      reset: async () => gates.reset(),
    },
    model,
    method,
    kernels,
  });
  const runs = [];
  for (const size of sizes) runs.push((await runner.run(size)).run);
  const measurement: Measurement = {
    ...{ id: method.name, method: method.name, model: { shape: "tiny" }, network: "loopback" },
    ...{ kind: "full", length: 10, positions: 24, runs, moments: runner.moments, busyCores: 0 },
  };
  return measurement;
}

const whole = { promptTokens: 4, tokens: 6 };
const place = (method: string) =>
  ({ method, model: { shape: "tiny" }, length: 10, network: "loopback" }) as const;

describe.each(["vanilla", "merge", "merge-mm"])("%s", (name) => {
  const method = methodOf(name);
  const { config } = models.get(name)!;

  it("sends what is modelled, and its cells have the same structure", async () => {
    // The runner itself fails where a run sends something else than its plan says.
    const full = await measured(method, [whole]);
    const samples = [4, 9].map((promptTokens) => ({ promptTokens, tokens: 3 }));
    const sample = await measured(method, samples);
    const asked = { method, size: { shape: "tiny" }, length: 10, positions: 24 };
    const costs = await stretchedCosts(config, asked);
    const [run] = full.runs;
    const { roundTrips, onlineBytes } = run!.all;
    const offlineBytes = run!.offline.bytes;
    const rates = ratesOf([sample]);
    const cells = {
      run: runCell(place(name), costs, full),
      sampled: sampledCell(place(name), costs, { measurement: sample, rates }),
      modelled: modelledCell(place(name), costs, rates),
    };
    for (const [how, cell] of Object.entries(cells)) {
      expect(cell.how).toBe(how);
      expect(cell.total).toMatchObject({ roundTrips, onlineBytes, offlineBytes });
      expect(Object.keys(cell.parts!)).toEqual(Object.keys(cells.run.parts!));
      // Whatever the parts took, they and the rest make up the whole.
      const each = [...Object.values(cell.parts!), cell.rest!].map(({ seconds }) => seconds);
      const sum = each.reduce((total, seconds) => total + seconds, 0);
      expect(sum).toBeCloseTo(cell.total!.seconds, 9);
      expect(cell.total!.seconds).toBeGreaterThan(0);
    }
    // The gates that ran are those that the plan lists.
    const planned = costs.tasks.reduce((sum, { gates }) => sum + gates, 0);
    const counted = Object.values(full.moments.server).reduce((sum, { n }) => sum + n, 0);
    expect(counted).toBe(planned);
  });

  it("costs with more layers what its plan says", async () => {
    const six = { shape: "tiny", layers: 6, vocabulary: 320 };
    const [grown, planned] = await Promise.all([
      stretchedCosts(config, { method, size: six, length: 12, positions: 24 }),
      costsOf(stretched(config, six, 24), method, 12),
    ]);
    for (const part of parts) {
      const [a, b] = [grown.parts[part], planned.parts[part]];
      expect(a.onlineBytes).toBe(b.onlineBytes);
      expect(a.offlineBytes).toBe(b.offlineBytes);
      expect(a.roundTrips).toBeCloseTo(b.roundTrips, 9);
    }
    expect(totalsOf(grown).roundTrips).toBe(totalsOf(planned).roundTrips);
    // Frames of long messages do not grow evenly.
    const { offlineBytes } = totalsOf(planned);
    expect(Math.abs(totalsOf(grown).offlineBytes / offlineBytes - 1)).toBeLessThan(1e-4);
    expect(grown.multiplyAdds).toBe(planned.multiplyAdds);
    const tasks = (costs: typeof grown) =>
      costs.tasks.map(({ part, task, gates, work }) => `${part} ${task} ${gates} ${work}`).sort();
    expect(tasks(grown)).toEqual(tasks(planned));
  });

  it("stretched to its own size is itself", () => {
    expect(stretched(config, { shape: "tiny" }, config.positionCount)).toEqual(config);
  });
});

describe("a report", () => {
  let result: PaperResult;
  beforeAll(async () => {
    const merge = await measured(methodOf("merge"), [whole]);
    const rates = ratesOf([merge]);
    const cells = [];
    for (const network of ["loopback", "wan"] as const) {
      for (const length of [10, 12]) {
        for (const name of ["vanilla", "merge"]) {
          const at = { ...place(name), length, network };
          const method = methodOf(name);
          const costs = await costsOf(models.get(name)!.config, method, length);
          cells.push(modelledCell(at, costs, rates));
        }
        cells.push(withoutForm({ ...place("the-x"), length, network }, "there is no gate"));
      }
    }
    result = {
      format: PAPER_FORMAT,
      machine: {
        ...{ kind: "a machine", instructionSets: [], memoryBytes: 2 ** 30, system: "none" },
        ...{ node: "v24", commit: "-" },
      },
      ...{ kernels: "reference", startedAt: "now", busy: true, finished: true, rates },
      settings: {
        ...{ quick: true, modelOnly: false, full: "merge", samples: 3, sampleBytes: 1 },
        ...{ shapes: ["tiny"], lengths: [10, 12], networks: ["loopback", "wan"] },
        methods: ["vanilla", "merge", "the-x"],
      },
      measurements: [merge],
      cells,
      agreements: [],
    };
  });

  it("is Markdown whose tables have as many cells in every row", () => {
    const text = tables(result);
    const blocks = text.split("\n\n").filter((block) => block.startsWith("|"));
    expect(blocks.length).toBe(1 + 4 + 2 + 1);
    for (const block of blocks) {
      const widths = block.split("\n").map((line) => line.split("|").length);
      expect(new Set(widths).size, block).toBe(1);
    }
    expect(text).toContain("| THE-X | no secure form yet |");
    expect(text).toContain("- THE-X: there is no gate.");
    expect(text).toMatch(/others on the machine \| yes/);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
  });

  it("has the paper's figures beside those of GPT-2 at 128 positions", () => {
    const cells = result.cells.map((cell) => ({ ...cell, model: { shape: "gpt2" }, length: 128 }));
    const shapes = ["gpt2"];
    const settings = { ...result.settings, shapes, lengths: [128, 512] };
    const text = tables({ ...result, settings, cells });
    expect(text).toMatch(
      /^\| MERGE \| .* \| 5\.17 \| 157\.5 \| 0 \| 171\.38 \| 7\.75 \| 121\.76 \|$/m,
    );
    expect(text).toMatch(/^\| 128 \| [\d.]+ \| [\d.]+ \| 7\.75 \|$/m);
    expect(text).toMatch(/^\| 512 \|.*\| 26\.5 \|$/m);
  });

  it("has plots that are whole documents, with a mark for each cell", async () => {
    const drawn = plots(result);
    expect(drawn.map(({ name }) => name)).toEqual(["figure-lengths", "figure-sizes"]);
    const [lengths, sizes] = await Promise.all(drawn.map(({ spec }) => svgOf(spec)));
    for (const svg of [lengths!, sizes!]) expect(openTags(svg)).toEqual([]);
    expect(lengths).toContain("MERGE");
    expect(lengths).not.toContain("THE-X");
    expect(lengths!.match(/aria-roledescription="point"/g)).toHaveLength(8);
  });
});

/** Tags of an SVG that are not closed in order. @throws where one is closed that is not open */
function openTags(svg: string): string[] {
  const open: string[] = [];
  for (const [, closes, name, rest] of svg.matchAll(/<(\/?)([a-zA-Z]+)((?:"[^"]*"|[^">])*)>/g)) {
    if (closes) expect(open.pop()).toBe(name);
    else if (!rest!.endsWith("/")) open.push(name!);
  }
  expect(svg.startsWith("<svg")).toBe(true);
  return open;
}

it("all methods are presets of the recipes, with sizes as they are called", () => {
  expect(methods.length).toBe(12);
  expect(["distilgpt2", "gpt2", "gpt2-medium", "gpt-391m"].map(millionParameters)).toEqual([
    expect.closeTo(81.9, 1),
    expect.closeTo(124.4, 1),
    expect.closeTo(354.8, 1),
    expect.closeTo(391.6, 1),
  ]);
});
