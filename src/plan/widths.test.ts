// Widths of wires: what each kind of gate needs of its inputs, what carried wires are needed for,
// that it is enough, and that a bit less is not.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compareFixedSecure } from "../../test/compare.ts";
import { errorOf } from "../../test/errors.ts";
import { mergedModel } from "../../test/merged-model.ts";
import { checkGates } from "../../test/privacy/check.ts";
import { gate, matrixMap, openGate, splineGate } from "../../test/privacy/gates.ts";
import {
  makeTensors,
  type RunOptions,
  runParties,
  runReference,
  seeded,
} from "../../test/privacy/harness.ts";
import { maskedWire, sharedWire, uniform } from "../../test/privacy/values.ts";
import type { GateSpec } from "../gate/index.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { planGeneration } from "../party/plan.ts";
import { Ring } from "../ring/ring.ts";
import { openingBits } from "./format.ts";
import { withWidths } from "./widths.ts";

const kernels = await loadRingKernels();
const ring = new Ring(kernels);

/** Bits of each gate's output, by the gate's number. */
const widthsOf = (...segments: GateSpec[][]) =>
  withWidths(segments.map((gates) => ({ gates }))).map(({ gates }) =>
    gates.map(({ bits }) => bits),
  );

const shape = [2, 3] as const;
const ends = (from: number | readonly number[], to: number) => ({ from: [from].flat(), to });
const map = matrixMap("w", 3);
/** Ends a wire: it is needed to this many bits. */
const head = (from: number, to: number, bits: number) =>
  gate("logits", ends(from, to), shape, {
    map,
    bias: undefined,
    shift: bits - 4,
    sentBits: 4,
    fracBits: 1,
    name: `logits${to}`,
  });

const table = (shift: number, domainBits: number) => ({
  shift,
  domainBits,
  fracBits: 0,
  knots: [0n],
  c0: [1n],
  c1: [1n],
});

describe("what a gate needs of its inputs", () => {
  it("logits: what is sent and all below, or the ring", () => {
    const before = gate("remask", ends(9, 0), shape, { offline: true });
    expect(widthsOf([before, head(0, 1, 30)])).toEqual([[30, 1]]);
    expect(widthsOf([before, { ...head(0, 1, 30), shift: 61 }])).toEqual([[64, 1]]);
  });

  it("an opening: the bits of t, whatever is needed of its result", () => {
    const before = gate("center", ends(9, 0), shape, { offline: true });
    const after = [gate("remask", ends(1, 2), shape, { offline: false }), head(2, 3, 11)];
    const open = (openBits?: number) => openGate({ from: 0, to: 1 }, shape, 5, { openBits });
    expect(widthsOf([before, open(40), ...after])).toEqual([[40, 11, 11, 1]]);
    expect(widthsOf([before, open(), ...after])).toEqual([[64, 11, 11, 1]]);
  });

  it("a spline: its domain and what it cuts off", () => {
    const before = gate("sumSquares", ends(9, 0), [2, 1], { width: 3 });
    const spline = (shift: number, bits: number) =>
      splineGate({ from: 0, to: 1 }, 2, table(shift, bits));
    const after = openGate({ from: 1, to: 2 }, [2, 1], 5, { openBits: 50 });
    expect(widthsOf([before, spline(0, 33), after])).toEqual([[33, 50, 1]]);
    expect(widthsOf([before, spline(7, 33), after])).toEqual([[40, 50, 1]]);
    expect(widthsOf([before, spline(40, 33), after])).toEqual([[64, 50, 1]]);
  });

  it("a sum: fewer bits of what it shifts, at least one", () => {
    const parts = [0, 1].map((to) => gate("remask", ends(9, to), shape, { offline: true }));
    const sum = (...shifts: [number, number]) =>
      gate("sum", ends([0, 1], 2), shape, { shifts, offline: true });
    const open = openGate({ from: 2, to: 3 }, shape, 5, { openBits: 40 });
    expect(widthsOf([...parts, sum(15, 0), open])).toEqual([[25, 40, 40, 1]]);
    expect(widthsOf([...parts, sum(0, 50), open])).toEqual([[40, 1, 40, 1]]);
  });

  it.each([
    ["bias", gate("bias", ends(0, 1), shape, passing())],
    ["center", gate("center", ends(0, 1), shape, { offline: true })],
    ["concat", gate("concat", ends([0, 9], 1), shape, {})],
    ["linear", gate("linear", ends(0, 1), shape, { map })],
    ["product", gate("product", ends([0, 9], 1), shape, { upperBits: [20, 20] })],
    ["quad", gate("quad", ends(0, 1), shape, { linear: 3n, constant: 1n })],
    ["remask", gate("remask", ends(0, 1), shape, { offline: true })],
    ["slice", gate("slice", ends(0, 1), shape, { from: 0, form: "client", offline: true })],
    ["sumSquares", gate("sumSquares", ends(0, 1), shape, { width: 3 })],
  ] as const)("%s: as many as are needed of its result", (_kind, spec) => {
    const before = [0, 9].map((to) => gate("remask", ends(8, to), shape, { offline: true }));
    const open = openGate({ from: 1, to: 2 }, shape, 5, { openBits: 29 });
    const bits = widthsOf([...before, spec, open])[0]!;
    const other = spec.inputs.length > 1 ? 29 : 1;
    expect(bits).toEqual([29, other, 29, 1]);
  });

  it("a wire with several readers: the most that any of them needs; with none, one bit", () => {
    const gates = [
      gate("oneHot", ends([], 0), shape, { name: "ids", fracBits: 3 }),
      head(0, 1, 20),
      head(0, 2, 33),
      head(0, 3, 7),
      gate("linear", ends(0, 4), shape, { map }),
    ];
    expect(widthsOf(gates)).toEqual([[33, 1, 1, 1, 1]]);
  });

  it("leaves all else of a gate and of a segment as it was", () => {
    const spec = head(0, 1, 20);
    const segments = [{ id: 7, gates: [spec], more: "x" }];
    const [out] = withWidths(segments);
    expect(out).toEqual({ id: 7, more: "x", gates: [{ ...spec, bits: 1 }] });
    expect(segments[0]!.gates[0]).toBe(spec);
    expect(spec.bits).toBeUndefined();
  });
});

function passing() {
  return { form: "shared", constant: "b", from: undefined, offline: true } as const;
}

describe("a carried wire", () => {
  const make = (to: number) => gate("remask", ends(8, to), shape, { offline: true });
  const keep = (from: number, name: string, replaces?: string) =>
    gate("store", ends(from, 20), shape, { name, replaces });
  const fetch = (name: string, to: number) => gate("load", ends([], to), shape, { name });

  it("has the bits that all later segments need of it; each of them loads what it needs", () => {
    const widths = widthsOf(
      [make(0), keep(0, "a")],
      [fetch("a", 0), head(0, 1, 20)],
      [fetch("a", 0), head(0, 1, 41)],
      [fetch("a", 0), head(0, 1, 30)],
    );
    expect(widths).toEqual([
      [41, 41],
      [20, 1],
      [41, 1],
      [30, 1],
    ]);
  });

  it("and its readers in its own segment", () => {
    const own = [make(0), keep(0, "a"), head(0, 1, 50)];
    expect(widthsOf(own, [fetch("a", 0), head(0, 1, 20)])[0]).toEqual([50, 20, 1]);
    const less = [make(0), keep(0, "a"), head(0, 1, 5)];
    expect(widthsOf(less, [fetch("a", 0), head(0, 1, 20)])[0]).toEqual([20, 20, 1]);
  });

  it("hands on what is needed of the one that it becomes a part of", () => {
    const grow = (old: string, name: string) => [
      fetch(old, 0),
      make(1),
      gate("concat", ends([0, 1], 2), shape, {}),
      keep(2, name, old),
    ];
    const widths = widthsOf([make(0), keep(0, "a:1")], grow("a:1", "a:2"), grow("a:2", "a:3"), [
      fetch("a:3", 0),
      head(0, 1, 37),
    ]);
    expect(widths[0]).toEqual([37, 37]);
    expect(widths[1]).toEqual([37, 37, 37, 37]);
  });

  it("that nobody loads takes one bit", () => {
    expect(widthsOf([make(0), keep(0, "a")], [fetch("b", 0), head(0, 1, 20)])[0]).toEqual([1, 1]);
  });

  it("needs more than the ring has: refused", () => {
    const wide = { ...gate("sum", ends([0, 0], 1), shape, { shifts: [0, -1], offline: true }) };
    const open = openGate({ from: 1, to: 2 }, shape, 5);
    errorOf("E_INTERNAL", () => widthsOf([make(0), wide, open]));
  });
});

describe("is enough", () => {
  /** What a random chain is built from: client-masked wires and shared ones, by number. */
  interface Chain {
    readonly gates: GateSpec[];
    readonly masked: number[];
    readonly shared: number[];
  }

  /** A random chain of all gates that no bound constrains, ending in logits. */
  function chainOf(choices: readonly number[], headBits: readonly [number, number]): GateSpec[] {
    const chain: Chain = { gates: [], masked: [1, 2], shared: [0] };
    let next = 3;
    const pick = (from: readonly number[], by: number) => from[by % from.length]!;
    const put = (form: "masked" | "shared", make: (to: number) => GateSpec) => {
      chain.gates.push(make(next));
      chain[form].push(next++);
    };
    for (const by of choices) {
      const [m, s] = [pick(chain.masked, by >> 4), pick(chain.shared, by >> 9)];
      const weight = by % 2 > 0 ? "w" : "v";
      const map = { type: "diagonal", weight } as const;
      const bias = { form: "client", constant: "b", from: undefined, offline: true } as const;
      const shifts = [by % 7, by % 5] as const;
      const made: (() => void)[] = [
        () => put("shared", (to) => gate("linear", ends(m, to), shape, { map })),
        () => put("shared", (to) => gate("bias", ends(s, to), shape, passing())),
        () => put("masked", (to) => gate("bias", ends(m, to), shape, bias)),
        () =>
          put("shared", (to) => gate("sum", ends([m, s], to), shape, { shifts, offline: true })),
        () => put("shared", (to) => gate("center", ends(s, to), shape, { offline: true })),
        () => put("masked", (to) => gate("remask", ends(s, to), shape, { offline: by % 2 > 0 })),
        () =>
          put("masked", (to) =>
            gate("slice", ends(m, to), shape, { from: 0, form: "client", offline: true }),
          ),
      ];
      made[(by >> 2) % made.length]!();
    }
    const square = { map: { type: "diagonal", weight: "w" }, bias: "b", fracBits: 1 } as const;
    for (const [i, bits] of headBits.entries()) {
      const from = chain.masked.at(-1 - i)!;
      const sent = { shift: bits - 7, sentBits: 7, name: `logits${i}` };
      chain.gates.push(gate("logits", ends(from, next++), shape, { ...square, ...sent }));
    }
    return chain.gates;
  }

  it("for chains of linear gates: the logits are those of whole words", () => {
    const choices = fc.array(fc.nat(1 << 14), { minLength: 1, maxLength: 14 });
    const bits = fc.integer({ min: 8, max: 63 });
    fc.assert(
      fc.property(choices, bits, bits, fc.nat(), (list, first, second, seed) => {
        const gates = chainOf(list, [first, second]);
        const tensor = (by: number) => ({
          rows: 1,
          columns: 3,
          weights: uniform(seed + by, 3, 64),
          mask: uniform(seed + by + 1, 3, 64),
        });
        const values = (by: number) => uniform(seed + by, 6, 64);
        const options: RunOptions = {
          ring,
          gates: withWidths([{ gates }])[0]!.gates,
          inputs: new Map([
            [0, sharedWire(ring, values(1), seed + 7)],
            [1, maskedWire(ring, values(2), seed + 8)],
            [2, maskedWire(ring, values(3), seed + 9)],
          ]),
          random: seeded(kernels, seed),
          tensors: makeTensors(
            ring,
            new Map([
              ["w", tensor(20)],
              ["v", tensor(30)],
              ["b", tensor(40)],
            ]),
          ),
        };
        const narrow = checkGates(options);
        // Dither aside, they are the logits of a run whose words have all bits.
        const whole = runReference({ ...options, gates }, false);
        for (const [name, logits] of narrow.client.logits) {
          const other = whole.logits.get(name)!;
          logits.forEach((logit, i) => {
            const apart = (((logit - other[i]!) % 128) + 128) % 128;
            expect([0, 1, 2, 126, 127]).toContain(apart);
          });
        }
      }),
      { numRuns: 80 },
    );
  });

  it("for values at the edge of the stated bound, and a bit less is not", () => {
    const magnitude = 3;
    const fracBits = 10;
    const openBits = openingBits("z", fracBits, magnitude);
    const edges = [3 << fracBits, -(3 << fracBits), 0, 1, -1, 1600];
    // Beyond its range a value is wrong under some masks: each is opened under many.
    const values = new Array(40).fill(edges).flat();
    const count = values.length;
    const words = BigUint64Array.from(values, (value) => ring.residue(BigInt(value)));
    const run = (bits: number) => {
      const gates = withWidths([
        {
          gates: [
            openGate({ from: 0, to: 1 }, [count, 1], 3, { openBits: bits }),
            gate("remask", ends(1, 2), [count, 1], { offline: false }),
            { ...head(2, 3, 24), rows: count, columns: 1, map: { type: "diagonal", weight: "w" } },
          ],
        },
      ])[0]!.gates;
      const one = { rows: 1, columns: 1, weights: BigUint64Array.of(1n) };
      const tensor = { ...one, mask: uniform(3, 1, 64) };
      return {
        ring,
        gates,
        inputs: new Map([[0, sharedWire(ring, words, 8)]]),
        random: seeded(kernels, 4),
        tensors: makeTensors(ring, new Map([["w", tensor]])),
      };
    };
    const right = checkGates(run(openBits)).value(2);
    right.forEach((word, i) => {
      const apart = Number(BigInt.asIntN(24, word)) - values[i]! / 8;
      expect(Math.abs(apart)).toBeLessThan(1);
    });
    const short = run(openBits - 1);
    errorOf("E_RANGE", () => runReference(short));
    const wrong = runParties(short).value(2);
    const apart = [...wrong].filter((word, i) => {
      return Math.abs(Number(BigInt.asIntN(24, word)) - values[i]! / 8) >= 1;
    });
    expect(apart.length).toBeGreaterThan(0);
  });
});

describe("is not too much", () => {
  /**
   * Kinds whose stated width decides how many bits are masked, sent or dealt. Two come by
   * themselves: one-hot rows hold so small numbers that only a mask near its greatest value makes
   * them wrap, and a spline's last bit counts where the slope is odd.
   */
  const kinds = ["linear", "remask", "open", "product"] as const;
  const asked = { promptPositions: 3, maxTokens: 9, chunk: 4, anchor: 0 };
  const models = (["layernorm", "affine"] as const).map((norm) => {
    const model = mergedModel({ seed: 41, norm, bucket: 3, maxTokens: 9, chunk: 4 });
    return [norm, model] as const;
  });

  it.each(models)(
    "a bit less of any wire, and secure departs from fixed, %s",
    async (_n, model) => {
      const { segments } = await planGeneration(model.config, asked);
      const run = { model, kernels, prompt: "pub", seed: 41 };
      expect((await compareFixedSecure(run)).tokens).toHaveLength(9);
      const tried = new Set<string>();
      // A wire of the prompt, or the same one of all steps: one word alone may be right by chance.
      for (const place of ["prompt", "step"]) {
        const { gates } = segments.find(({ segment }) => segment.kind === place)!;
        for (const { id, kind } of gates) {
          if (!(kinds as readonly string[]).includes(kind)) continue;
          const lower = (spec: GateSpec) =>
            spec.id === id ? { ...spec, bits: spec.bits! - 1 } : spec;
          const change = (all: typeof segments) =>
            all.map((segment) =>
              segment.segment.kind === place
                ? { ...segment, gates: segment.gates.map(lower) }
                : segment,
            );
          const result = await compareFixedSecure({ ...run, change }).then(
            () => "equal",
            (reason: Error) => reason.message,
          );
          expect(result, `${place}, gate ${id}, ${kind}`).toMatch(/secure$|differs$/);
          // The wire itself is right as far as it goes: what reads it is not.
          expect(result).not.toContain(`gate ${id},`);
          tried.add(kind);
        }
      }
      expect(tried.size).toBe(model.config.norm.kind === "affine" ? 3 : kinds.length);
    },
  );

  it("a bit less of a spline, and its value is wrong", () => {
    const values = BigUint64Array.from({ length: 40 }, (_, v) => BigInt(v));
    const given = (bits: number) => ({
      ring,
      gates: [splineGate({ from: 0, to: 1 }, 40, table(0, 6), bits)],
      inputs: new Map([[0, sharedWire(ring, values, 3)]]),
      random: seeded(kernels, 5),
    });
    const { client, server } = checkGates(given(33));
    const low = (bits: number, of: typeof client.wires | typeof server.wires) => {
      const held = of.get(1)!;
      return ring.lowBits(held.form === "shared" ? held.share : values, bits);
    };
    const short = runParties(given(32));
    const sum = (run: Pick<typeof short, "client" | "server">) =>
      ring.lowBits(ring.add(low(64, run.client.wires), low(64, run.server.wires)), 33);
    expect(sum({ client, server })).toEqual(values.map((v) => v + 1n));
    expect(sum(short)).not.toEqual(values.map((v) => v + 1n));
  });

  it("a bit less of one-hot rows, and their lookup is wrong under the greatest mask", () => {
    const random = seeded(kernels, 6);
    const client = {
      bytes: random.client.bytes.bind(random.client),
      words: (...[place, purpose, count, bits]: Parameters<typeof random.client.words>) =>
        purpose === "mask"
          ? new BigUint64Array(count).fill(BigInt.asUintN(bits, -1n))
          : random.client.words(place, purpose, count, bits),
    };
    const tensor = (seed: number) => uniform(seed, 9, 64).map((word) => word | 1n);
    const options: RunOptions = {
      ring,
      gates: withWidths([
        {
          gates: [
            gate("oneHot", ends([], 0), shape, { name: "ids", fracBits: 12 }),
            gate("linear", ends(0, 1), shape, { map }),
            gate("remask", ends(1, 2), shape, { offline: true }),
            head(2, 3, 40),
          ],
        },
      ])[0]!.gates,
      ids: new Map([["ids", [1, 2]]]),
      random: { ...random, client },
      tensors: makeTensors(
        ring,
        new Map([["w", { rows: 3, columns: 3, weights: tensor(1), mask: tensor(2) }]]),
      ),
    };
    const right = checkGates(options).value(1);
    const short = options.gates.map((spec, i) => (i === 0 ? { ...spec, bits: 39 } : spec));
    expect(runParties({ ...options, gates: short }).value(1)).not.toEqual(right);
  });
});
