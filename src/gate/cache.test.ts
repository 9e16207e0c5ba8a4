import { expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate } from "../../test/privacy/gates.ts";
import { seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { referenceRingKernels } from "../kernel/reference.ts";
import { Ring } from "../ring/ring.ts";

const ring = new Ring(await loadRingKernels());

test("rows of an opened wire stand behind the earlier ones, and are found again", () => {
  const [openBits, bits] = [30, 30];
  const opened = (from: number, to: number, rows: number) =>
    gate("exchange", { from: [from], to }, [rows, 2], { openBits, bits });
  const run = checkGates({
    ring,
    gates: [
      opened(0, 2, 3),
      gate("cache", { from: [2], to: 3 }, [3, 2], { after: undefined, name: "k:3", bits }),
      opened(1, 4, 1),
      gate("cache", { from: [4], to: 5 }, [4, 2], { after: "k:3", name: "k:4", bits }),
    ],
    inputs: new Map([
      [0, sharedWire(ring, uniform(1, 6, 64), 5)],
      [1, sharedWire(ring, uniform(2, 2, 64), 6)],
    ]),
    random: seeded(referenceRingKernels(), 2),
  });
  for (const party of [run.client, run.server, run.dealer]) {
    expect([...party.states.keys()]).toEqual(["k:4"]);
  }
});
