// What mergen doctor says of this machine. A package without the addon: test/pack.test.ts.

import { dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { expectError, jsonLines, mergen } from "../../test/cli.ts";

interface Diagnosis {
  version: string;
  node: { version: string; path: string };
  kernels: {
    ring: { name?: string; detail: string; forcedBy?: string };
    checksum: { name: string };
    threads: number;
  };
  selfTests: Record<"ring" | "float" | "wasm" | "checksum", { problem?: string; failed: string[] }>;
  compiler: string | null;
  advice: string | null;
}

const free = { MERGEN_KERNELS: "", MERGEN_THREADS: "" };

describe.concurrent("mergen doctor", () => {
  it("prints one line of JSON and ends well", async () => {
    const finished = await mergen(["doctor", "--json"], { env: free });
    const [{ node, kernels, selfTests }] = jsonLines<Diagnosis>(finished) as [Diagnosis];
    expect(finished.status).toBe(0);
    expect(node).toEqual({ version: process.version, path: process.execPath });
    expect(["native", "wasm"]).toContain(kernels.ring.name);
    expect(kernels.checksum.name).toBe(kernels.ring.name === "native" ? "native" : "reference");
    expect(Object.keys(selfTests).sort()).toEqual(["checksum", "float", "ring", "wasm"]);
    for (const test of Object.values(selfTests)) expect(test).toEqual({ failed: [] });
  });

  it("says for people what runs, and advises to undo what slows it", async () => {
    const env = { ...free, MERGEN_KERNELS: "wasm", MERGEN_THREADS: "2" };
    const { status, stdout } = await mergen(["doctor"], { env });
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ring kernels +wasm, SIMD \(forced by MERGEN_KERNELS=wasm\).*: 2$/m);
    expect(stdout).toMatch(/^float kernels +wasm/m);
    expect(stdout).toMatch(/^frame checksums +TypeScript \(forced by MERGEN_KERNELS=wasm\)$/m);
    expect(stdout).toMatch(/^WebAssembly +self-test passed$/m);
    expect(stdout).toMatch(/^advice +unset MERGEN_KERNELS/m);
  });

  it("looks for a compiler on the PATH", async () => {
    const env = { ...free, PATH: dirname(process.execPath), CXX: "" };
    const [{ compiler }] = jsonLines<Diagnosis>(await mergen(["doctor", "--json"], { env })) as [
      Diagnosis,
    ];
    expect(compiler).toBeNull();
    const fake = { ...env, CXX: process.execPath };
    const [found] = jsonLines<Diagnosis>(await mergen(["doctor", "--json"], { env: fake }));
    expect(found!.compiler).toBe(process.execPath);
  });

  it("refuses unknown kernels", async () => {
    const finished = await mergen(["doctor", "--json"], { env: { MERGEN_KERNELS: "gpu" } });
    expectError(finished, "E_USAGE", /MERGEN_KERNELS must be one of native, wasm, reference/);
  });
});
