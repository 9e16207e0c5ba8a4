import { expect, test } from "vitest";
import { checkGates } from "../../test/privacy/check.ts";
import { gate } from "../../test/privacy/gates.ts";
import { seeded } from "../../test/privacy/harness.ts";
import { sharedWire, uniform } from "../../test/privacy/values.ts";
import { loadRingKernels } from "../kernel/load-node.ts";
import { Ring } from "../ring/ring.ts";

const kernels = await loadRingKernels();

test.each([1, 7, 16, 31])("C learns words of %i bits, one message from S", (wordBits) => {
  const ring = new Ring(kernels);
  const values = uniform(wordBits, 5, 64);
  const run = checkGates({
    ring,
    gates: [gate("reveal", { from: [0], to: 1 }, [5, 1], { name: "tokens", wordBits })],
    inputs: new Map([[0, sharedWire(ring, values, 7)]]),
    random: seeded(kernels, 1),
  });
  const wanted = [...values].map((word) => Number(BigInt.asUintN(wordBits, word)));
  expect([...run.client.revealed.get("tokens")!]).toEqual(wanted);
  expect(run.messages.map(({ channel }) => channel)).toEqual(["server-client"]);
});
