// What C and D make before the gates' own offline parts: all masks, then every product once.

import { beforeEach, describe, expect, it, vi } from "vitest";
import { partyTensors } from "../../test/masked-tensors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { gate, matrixMap } from "../../test/privacy/gates.ts";
import { seeded } from "../../test/privacy/harness.ts";
import { uniform } from "../../test/privacy/values.ts";
import type { OfflineClientContext } from "../gate/gate.ts";
import { type GateSpec, gateOf } from "../gate/index.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { planGeneration } from "../party/plan.ts";
import { MaskTensors } from "../plan/masks.ts";
import { Ring, type Words } from "../ring/ring.ts";
import type { ClientWire } from "../share/wires.ts";
import { decodeItems } from "./items.ts";
import { type OfflineWork, prepareMasks } from "./offline.ts";
import { prepareBundle } from "./party.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);
const listed = [
  { key: "w", rows: 5, columns: 3, forms: ["matrix", "transposed"] },
  { key: "v", rows: 5, columns: 3, forms: ["matrix"] },
] as const;
const tensors = new MaskTensors(kernels, listed, new Uint8Array(32).fill(9));
const { client } = seeded(kernels, 3);

type Context = OfflineClientContext & { wires: Map<number, ClientWire> };

/** Contexts of some segments, which carry states. */
function contexts(count: number): Context[] {
  const states = new Map<string, ClientWire>();
  return Array.from({ length: count }, (_, segment) => ({
    ring,
    segment,
    states,
    tensors,
    client,
    wires: new Map(),
    products: new Map(),
    upload: () => {},
  }));
}

const masked = (seed: number, count: number): ClientWire => ({
  form: "client",
  mask: uniform(seed, count, 64),
});
const linear = (from: number, to: number, rows: number, weight: string) => {
  const [inner, columns] = weight.endsWith("^T") ? [3, 5] : [5, 3];
  return gate("linear", { from: [from], to }, [rows, columns], { map: matrixMap(weight, inner) });
};
const maskOf = (context: Context, wire: number): Words => {
  const found = context.wires.get(wire);
  if (found?.form !== "client") throw new Error("not a mask");
  return found.mask;
};

describe("masks and products of a bundle", () => {
  const products = vi.spyOn(ring, "matmul");
  beforeEach(() => void products.mockClear());

  it("every matrix is multiplied with once for all gates and segments, each gets its rows", () => {
    const [first, second] = contexts(2) as [Context, Context];
    first.wires.set(0, masked(1, 10)).set(1, masked(2, 5)).set(2, masked(3, 12));
    second.wires.set(0, masked(4, 20));
    const work = [
      {
        context: first,
        gates: [linear(0, 10, 2, "w"), linear(1, 11, 1, "v"), linear(2, 12, 4, "w^T")],
      },
      { context: second, gates: [linear(0, 10, 4, "w"), linear(0, 13, 4, "w")] },
    ];
    prepareMasks(ring, work);
    expect(products).toHaveBeenCalledTimes(3);
    const words = products.mock.calls.map(([x]) => x.length);
    expect(words).toEqual([10 + 20 + 20, 5, 12]);
    for (const { context, gates } of work) {
      for (const { id, inputs, map } of gates) {
        const alone = ring.matmul(maskOf(context, inputs[0]!), tensors.matrix(map.weight));
        expect(context.products.get(id)).toEqual(alone);
      }
    }
  });

  it("masks of a segment are there for the next one's products, before any product is made", () => {
    const [first, second] = contexts(2) as [Context, Context];
    const order: string[] = [];
    const watched = ((spec: GateSpec) => {
      const found = gateOf(spec);
      return {
        ...found,
        mask: (...args: [never, never]) => {
          order.push(`${spec.kind} ${spec.id}`);
          found.mask?.(...args);
        },
      };
    }) as typeof gateOf;
    products.mockImplementationOnce((...args) => {
      order.push("product");
      return Ring.prototype.matmul.apply(ring, args);
    });
    const kept = { name: "a", replaces: undefined };
    prepareMasks(
      ring,
      [
        {
          context: first,
          gates: [
            linear(7, 8, 2, "w"),
            gate("remask", { from: [8], to: 0 }, [3, 5], { offline: true, bits: 40 }),
            gate("slice", { from: [0], to: 1 }, [1, 5], { from: 2, form: "client", offline: true }),
            gate("store", { from: [1], to: 2 }, [1, 5], kept),
          ],
        },
        {
          context: second,
          gates: [gate("load", { from: [], to: 0 }, [1, 5], { name: "a" }), linear(0, 1, 1, "w")],
        },
      ].map((one) => {
        one.context.wires.set(7, masked(5, 10));
        return one;
      }),
      watched,
    );
    expect(order).toEqual([
      "linear 8",
      "remask 0",
      "slice 1",
      "store 2",
      "load 0",
      "linear 1",
      "product",
    ]);
    const mask = client.words({ segment: 0, gate: 0 }, "mask", 15, 40);
    expect(maskOf(second, 0)).toEqual(mask.slice(10));
    const alone = ring.matmul(mask.slice(10), tensors.matrix("w"));
    expect(second.products.get(1)).toEqual(alone);
  });

  it("no gates, no products", () => {
    prepareMasks(ring, []);
    prepareMasks(ring, [{ context: contexts(1)[0]!, gates: [] }]);
    expect(products).not.toHaveBeenCalled();
  });

  it("a bundle's upload is that of its gates taken one by one, without products made ahead", async () => {
    const model = mergedModel({ seed: 6, maxTokens: 3, chunk: 3, bucket: 3, tiedHead: true });
    const options = { promptPositions: 3, maxTokens: 3, chunk: 3, anchor: 2 };
    const plan = await planGeneration(model.config, options);
    const { client: own } = partyTensors(kernels, model, plan.tensors, new Uint8Array(32).fill(1));
    for (const segments of plan.bundles.slice(0, 1)) {
      const states = new Map<string, ClientWire>();
      const { upload } = prepareBundle({ ring, segments, states, tensors: own, random: client });
      products.mockClear();
      const sent: { segment: number; gate: number; bytes: Uint8Array }[] = [];
      const apart = new Map<string, ClientWire>();
      const work: OfflineWork[] = [];
      for (const { id, gates } of segments) {
        const context: OfflineClientContext = {
          ring,
          segment: id,
          states: apart,
          tensors: own,
          client,
          wires: new Map(),
          products: new Map(),
          upload: (spec, bytes) => void sent.push({ segment: id, gate: spec.id, bytes }),
        };
        for (const spec of gates) gateOf(spec).mask?.(spec, context);
        for (const spec of gates) gateOf(spec).prepare(spec, context);
        work.push({ gates, context });
      }
      expect(decodeItems(upload)).toEqual(sent);
      expect([...states.keys()].sort()).toEqual([...apart.keys()].sort());
      const matrices = work.flatMap(({ gates }) =>
        gates.filter((spec) => "map" in spec && spec.map.type === "matrix"),
      );
      expect(products).toHaveBeenCalledTimes(matrices.length);
    }
  });
});
