// The package as npm would publish it: its files alone, laid out as an installation, must do what
// the clone does.

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { saveModel } from "../src/model/checkpoint.ts";
import { mergedModel } from "./merged-model.ts";
import { root, textOf } from "./tidy.ts";

const { dependencies, exports, version } = JSON.parse(textOf("package.json"));
const launcher = (folder: string) => join(folder, "node_modules", "mergen", "bin", "mergen.js");

let files: string[];
let folder: string;

beforeAll(() => {
  // Does nothing where dist/ is newer than the sources.
  execute(process.execPath, [join(root, "bin", "build.js")]);
  const listed = execute("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"]);
  files = JSON.parse(listed)[0].files.map(({ path }: { path: string }) => path);
  folder = mkdtempSync(join(tmpdir(), "mergen-pack-"));
  for (const file of files) copy(file, join(folder, "node_modules", "mergen", file));
  for (const name of Object.keys(dependencies)) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link, "junction");
  }
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

function copy(file: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(join(root, file), to);
}

function execute(command: string, args: string[], cwd = root, env = {}): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  if (status !== 0) throw new Error(`${command} ${args[0]}: status ${status}\n${stdout}${stderr}`);
  return stdout;
}

/** The kernels that the installed package takes, as mergen doctor says. */
function doctor(env = {}) {
  const free = { MERGEN_KERNELS: "", MERGEN_THREADS: "", ...env };
  const args = [launcher(folder), "doctor", "--json"];
  return JSON.parse(execute(process.execPath, args, folder, free));
}

describe("the package", () => {
  it("holds what is needed to run and to build the addon, and neither tests nor sources", () => {
    const top = new Set(files.map((file) => file.split("/")[0]!));
    const folders = ["bin", "build", "dist", "models", "native"];
    const known = [...folders, "LICENSE", "README.md", "package.json"];
    expect([...top].filter((name) => !known.includes(name))).toEqual([]);
    const native = readdirSync(join(root, "native")).map((name) => `native/${name}`);
    expect(native.filter((file) => !files.includes(file))).toEqual([]);
    expect(files.filter((file) => /\.test\.|(?<!\.d)\.ts$|\.node$/.test(file))).toEqual([]);
    const targets = Object.values(exports as Record<string, string | object>).flatMap((target) =>
      typeof target === "string" ? [target] : (Object.values(target) as string[]),
    );
    const missing = targets.filter((target) => !files.includes(target.replace("./", "")));
    expect(missing).toEqual([]);
    expect(files.filter((file) => file.endsWith(".wasm"))).toHaveLength(4);
  });

  it.each(["index", "client"])("exports what src/%s.ts does", async (entry) => {
    const installed = join(folder, "node_modules", "mergen", "dist", "src", `${entry}.js`);
    const [built, source] = await Promise.all([
      import(pathToFileURL(installed).href),
      import(`../src/${entry}.ts`),
    ]);
    expect(Object.keys(built).sort()).toEqual(Object.keys(source).sort());
  });

  it("resolves its exports by name", () => {
    const names = Object.keys(exports).filter((name) => !name.endsWith(".json"));
    const specifiers = names.map((name) => name.replace(".", "mergen"));
    const script = `for (const name of ${JSON.stringify(specifiers)}) import.meta.resolve(name);
      const { Client } = await import("mergen/client");
      process.stdout.write(typeof Client);`;
    expect(execute(process.execPath, ["--input-type=module", "-e", script], folder)).toBe(
      "function",
    );
  });

  it("runs", async () => {
    expect(execute(process.execPath, [launcher(folder), "--version"], folder)).toBe(`${version}\n`);
    const model = join(folder, "model");
    await saveModel(model, mergedModel({ bucket: 4 }), { int16: true });
    const args = [launcher(folder), "run", "--model", model, "--input", "pub", "--json"];
    const { mode, tokens } = JSON.parse(execute(process.execPath, args, folder));
    expect(mode).toBe("secure");
    expect(tokens.length).toBeGreaterThan(0);
    expect(existsSync(join(folder, "node_modules", "mergen", "src"))).toBe(false);
  });

  it("runs without the addon, and says how to get it", () => {
    const { kernels, selfTests, advice } = doctor();
    expect([kernels.ring.name, kernels.float.name]).toEqual(["wasm", "wasm"]);
    expect(kernels.ring.refused[0]).toMatch(/native\.node is missing.*native.build\.js --force/);
    expect(kernels.addon).toMatchObject({ instructionSets: [] });
    for (const test of Object.values(selfTests)) expect(test).toEqual({ failed: [] });
    expect(advice).toContain(join(folder, "node_modules", "mergen", "native", "build.js"));
    const poor = { PATH: dirname(process.execPath), CXX: "" };
    expect(doctor(poor).advice).toMatch(/^install a C\+\+ compiler/);
  });

  it("runs with an addon that does not load, and refuses to be forced to it", () => {
    const addon = join(folder, "node_modules", "mergen", "build", "native.node");
    writeFileSync(addon, "no library");
    const { kernels } = doctor();
    expect(kernels.ring.name).toBe("wasm");
    expect(kernels.ring.refused[0]).toMatch(/does not load \(.*\): build it with/);
    const forced = { ...process.env, MERGEN_KERNELS: "native" };
    const { status, stderr } = spawnSync(process.execPath, [launcher(folder), "doctor"], {
      encoding: "utf8",
      env: forced,
    });
    expect(stderr).toMatch(/^E_KERNEL: .*forced by MERGEN_KERNELS=native.*does not load/m);
    expect(status).toBe(1);
    rmSync(addon);
  });

  it("is installed also where no compiler is, or one that fails", () => {
    const installed = join(folder, "node_modules", "mergen");
    const build = [join(installed, "native", "build.js")];
    const poor = { PATH: dirname(process.execPath), CXX: "" };
    expect(execute(process.execPath, build, folder, poor)).toMatch(/no C\+\+ compiler found/);
    const failing = join(folder, "failing-compiler");
    writeFileSync(failing, '#!/bin/sh\n[ "$1" = --version ]\n');
    chmodSync(failing, 0o755);
    const said = execute(process.execPath, build, folder, { CXX: failing });
    expect(said).toMatch(/the compiler failed; the WASM kernels serve/);
    expect(readdirSync(join(installed, "build")).filter((name) => !/wasm$/.test(name))).toEqual([]);
  });
});
