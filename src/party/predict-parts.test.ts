// That parts make up the whole, and that gates count with the part that their wires say.

import { describe, expect, it } from "vitest";
import { loadFloatKernels } from "../kernel/float-load.ts";
import { type Part, parts, partsOf } from "../plan/parts.ts";
import { randomModel } from "../train/random-model.ts";
import { type AskedOptions, generationOptions, planGeneration } from "./plan.ts";
import { predict } from "./predict.ts";
import { predictParts } from "./predict-parts.ts";
import { servable } from "./servable.ts";

const kernels = await loadFloatKernels();
const options = { shape: "tiny", positions: 24, seed: 1 } as const;
const configs = {
  vanilla: servable(randomModel({ ...options, recipe: "vanilla" }, kernels), kernels).config,
  merge: randomModel({ ...options, recipe: "merge" }, kernels).config,
  affine: randomModel({ ...options, recipe: "merge", norm: "affine" }, kernels).config,
};

const planOf = (name: keyof typeof configs, asked: AskedOptions) =>
  planGeneration(configs[name], generationOptions(configs[name], 4, { maxTokens: 6, ...asked }));

const cases: [keyof typeof configs, AskedOptions][] = [
  ["vanilla", { next: "lookup" }],
  ["vanilla", { next: "client" }],
  ["merge", { next: "resend", chunk: 2 }],
  ["merge", { next: "lookup" }],
  ["merge", { reveal: "token", anchor: 0 }],
  ["affine", { anchor: 3 }],
];

describe.each(cases)("costs by part of %s, %j", (name, asked) => {
  it("make up what a generation costs", async () => {
    const plan = await planOf(name, asked);
    const { online, offline } = predict(plan);
    const { segments, framing } = predictParts(plan);
    const total = (key: "onlineBytes" | "roundTrips" | "offlineBytes") =>
      segments
        .flatMap((segment) => parts.map((part) => segment.parts[part][key]))
        .reduce((sum, value) => sum + value, 0);
    const sent = online.clientSentBytes + online.serverSentBytes;
    expect(total("onlineBytes") + framing.onlineBytes).toBe(sent);
    expect(total("roundTrips")).toBeCloseTo(online.roundTrips, 9);
    const dealt = offline.dealerToServerBytes + offline.dealerToClientBytes;
    expect(total("offlineBytes") + framing.offlineBytes).toBe(dealt + offline.clientToServerBytes);
    expect(framing.onlineBytes).toBeGreaterThan(0);
    // A few headers, no gate's own bytes.
    expect(framing.offlineBytes).toBeLessThan(10_000);
    expect(framing.offlineBytes).toBeGreaterThan(0);
  });
});

describe("parts of gates", () => {
  async function partsNamed(name: keyof typeof configs, asked: AskedOptions) {
    const { segments } = await planOf(name, asked);
    const found = new Map<string, Set<Part>>();
    for (const { gates } of segments) {
      const of = partsOf(gates);
      for (const gate of gates) {
        const wire = "wireName" in gate ? gate.wireName.replace(/\d+/, "N") : gate.kind;
        found.set(wire, (found.get(wire) ?? new Set()).add(of.get(gate.id)!));
      }
    }
    return Object.fromEntries([...found].map(([wire, of]) => [wire, [...of].sort()]));
  }

  it("of an ordinary decoder", async () => {
    expect(await partsNamed("vanilla", { next: "lookup" })).toMatchObject({
      oneHot: ["embed"],
      linear: ["embed", "linear"],
      scores: ["attention"],
      mix: ["attention"],
      exchange: ["attention"],
      "layers.N.attention.score": ["attention"],
      "layers.N.attention.sum": ["attention"],
      "layers.N.attention.norm": ["norm"],
      "layers.N.norm.square": ["norm"],
      "layers.N.u": ["activation"],
      // A factor of the norm, and one of the weighted sum.
      product: ["attention", "norm"],
      remask: ["linear"],
      logits: ["next"],
      reveal: ["next"],
      indexOneHot: ["next"],
    });
  });

  it("of a merged one, whose attention is constant", async () => {
    expect(await partsNamed("merge", { next: "resend" })).toMatchObject({
      linear: ["attention", "embed", "linear"],
      quad: ["activation"],
      "layers.N.norm.variance": ["norm"],
      product: ["norm"],
      remask: ["attention", "linear"],
      logits: ["next"],
    });
  });

  it("none but the next token's when the client sees logits", async () => {
    const { segments } = predictParts(await planOf("merge", { next: "resend" }));
    const heads = segments.filter(({ segment }) => segment.kind === "head");
    const { next, linear, ...rest } = heads[0]!.parts;
    expect(next.onlineBytes).toBeGreaterThan(linear.onlineBytes);
    expect(linear.offlineBytes).toBeGreaterThan(0);
    expect(Object.values(rest).every(({ onlineBytes }) => onlineBytes === 0)).toBe(true);
  });
});
