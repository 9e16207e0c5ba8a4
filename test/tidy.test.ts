// The repository's own rules: who may import whom, words and paths that must not occur, and lengths
// of lines and functions.

import { posix } from "node:path";
import { describe, expect, it } from "vitest";
import {
  closureOf,
  codeFolders,
  exists,
  filesIn,
  functionLengths,
  identifiersOf,
  importsOf,
  packageOf,
  textOf,
} from "./tidy.ts";

/** Which layers of src/ a layer may import, besides itself and errors.ts. */
const arrows: Record<string, readonly string[]> = {
  kernel: [],
  ring: ["kernel"],
  share: ["kernel", "ring"],
  gate: ["kernel", "ring", "share"],
  graph: [],
  recipe: ["graph"],
  plan: ["kernel", "ring", "share", "gate", "graph", "recipe"],
  run: ["kernel", "ring", "share", "gate", "plan", "graph"],
  model: ["graph", "recipe"],
  generate: [],
  wire: [],
  evaluate: ["kernel", "model", "generate", "party"],
  party: ["kernel", "ring", "share", "gate", "plan", "run", "graph", "model", "generate", "wire"],
  train: ["kernel", "graph", "recipe", "plan", "run", "model", "generate", "evaluate", "party"],
};

/** What depends on no package and on nothing of Node, but for the files below. */
const core = ["kernel", "ring", "share", "gate", "graph", "recipe", "plan", "run"];
const coreLoaders = [
  "src/kernel/addon.ts",
  "src/kernel/float-load.ts",
  "src/kernel/load-node.ts",
  "src/kernel/pool-node.ts",
  "src/kernel/pool-worker.ts",
];

const entries = ["src/index.ts", "src/client.ts"];
/** Packages that run in a browser. */
const browserPackages = ["@huggingface/tokenizers", "zod"];
const nodeGlobals = ["process", "Buffer", "require", "__dirname", "__filename", "setImmediate"];

const isTest = (path: string) => path.endsWith(".test.ts");
const source = filesIn(["src"], [".ts"]);
const code = filesIn(codeFolders, [".ts", ".js"]);
const prose = [...filesIn(["docs", "models", ...codeFolders], [".md"]), "README.md"];

/** Lines of a file that fit a pattern, as `path:line`. */
function linesWith(path: string, pattern: RegExp): string[] {
  const lines = textOf(path).split("\n");
  return lines.flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}`] : []));
}

describe("imports", () => {
  it("every layer is known, and its files import what it may", () => {
    const wrong: string[] = [];
    for (const path of source.filter((each) => !isTest(each) && !entries.includes(each))) {
      const [, layer, ...rest] = path.split("/");
      const allowed = rest.length === 0 ? [] : arrows[layer!];
      if (!allowed) wrong.push(`${path}: layer ${layer} is unknown`);
      for (const { path: target } of importsOf(path)) {
        if (target === undefined || target === "src/errors.ts") continue;
        const [folder, of, ...inside] = target.split("/");
        const known = folder === "src" && inside.length > 0;
        if (!known || !(of === layer || allowed?.includes(of!))) wrong.push(`${path} -> ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("no two layers import each other", () => {
    const reaches = (from: string, to: string): boolean =>
      arrows[from]!.some((next) => next === to || reaches(next, to));
    expect(Object.keys(arrows).filter((layer) => reaches(layer, layer))).toEqual([]);
  });

  it("apps, bench and examples use public exports only", () => {
    const wrong: string[] = [];
    for (const path of filesIn(["apps", "bench", "examples"], [".ts"])) {
      if (isTest(path)) continue;
      const folder = path.split("/")[0]!;
      for (const { path: target } of importsOf(path)) {
        if (target === undefined || target.startsWith(`${folder}/`)) continue;
        // Kernels and packing are measured one by one, and are no public exports.
        const measured = target.startsWith("src/kernel/") || target === "src/ring/pack.ts";
        if (folder === "apps" && target.startsWith("bench/")) continue; // mergen bench
        if (!(folder === "bench" && measured) && !entries.includes(target))
          wrong.push(`${path} -> ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("the secure core has no dependencies and knows nothing of Node", () => {
    const wrong = source
      .filter((path) => core.includes(path.split("/")[1]!) && !isTest(path))
      .filter((path) => !coreLoaders.includes(path))
      .flatMap((path) =>
        importsOf(path)
          .filter(({ path: target }) => target === undefined)
          .map(({ specifier }) => `${path} -> ${specifier}`),
      );
    expect(wrong).toEqual([]);
    expect(coreLoaders.filter((path) => !exists(path))).toEqual([]);
  });

  it("whatever src/client.ts needs runs in a browser", () => {
    const reached = closureOf("src/client.ts");
    expect(reached.length).toBeGreaterThan(40);
    const wrong = reached.flatMap((path) => [
      ...importsOf(path)
        .filter(({ path: target, typeOnly }) => target === undefined && !typeOnly)
        .filter(({ specifier }) => !browserPackages.includes(packageOf(specifier) ?? ""))
        .map(({ specifier }) => `${path} -> ${specifier}`),
      ...nodeGlobals
        .filter((name) => identifiersOf(path).has(name))
        .map((name) => `${path}: ${name}`),
    ]);
    expect(wrong).toEqual([]);
  });
});

describe("words", () => {
  it("src/ has no randomness of its own and does not print", () => {
    const banned = /\bMath\.random\b|\bconsole\.log\b/;
    expect(source.flatMap((path) => linesWith(path, banned))).toEqual([]);
  });

  it("nothing is left to be done", () => {
    const banned = new RegExp(
      ["FIX", "TO"].map((word, i) => `\\b${word}${["ME", "DO"][i]}\\b`).join("|"),
    );
    expect([...code, ...prose].flatMap((path) => linesWith(path, banned))).toEqual([]);
  });

  it("no test runs alone, and none is skipped without a name", () => {
    const banned = /\b(?:it|test|describe)\.(?:only\b|(?:skip|todo)\((?!\s*["'`]))/;
    const tests = code.filter((path) => isTest(path));
    expect(tests.flatMap((path) => linesWith(path, banned))).toEqual([]);
  });

  it("no path of one machine", () => {
    const folders = ["home", "Users", "root", "work", "mnt", "data"].join("|");
    const banned = new RegExp(`(?:^|[\\s"'\`(=:])(?:/(?:${folders})/|[A-Z]:\\\\)`);
    const rest = filesIn(["configs", "models", "docs"], [".json", ".py"]);
    const files = [...code, ...prose, ...rest, "package.json", ".ci/run"];
    expect(files.flatMap((path) => linesWith(path, banned))).toEqual([]);
  });
});

describe("documentation", () => {
  const top = [...codeFolders, "configs", "docs", "models", ".ci"];
  const layers = Object.keys(arrows);

  /** Where a path in backticks should lie; undefined for what is none of the repository's. */
  function placeOf(text: string): string | undefined {
    const path = text.replace(/[:#][\w-]+$/, "").replace(/\/$/, "");
    if (!/^[\w.@-]+(\/[\w.@*-]+)*$/.test(path)) return undefined;
    const [first] = path.split("/");
    if (path === first && !text.endsWith("/")) return undefined;
    const named = path.replace(/\/?[^/]*\*.*$/, "");
    if (top.includes(first!)) return named;
    return layers.includes(first!) ? `src/${named}` : undefined;
  }

  /** A model's own files come with the model; a clone without the model can still be tested. */
  const isMissing = (place: string) => {
    const [folder, model] = place.split("/");
    const untrained =
      folder === "models" && !exists(`models/${model}`) && process.env.CI !== "true";
    return !untrained && !exists(place);
  };

  it.each(prose)("%s names paths that exist", (file) => {
    const text = textOf(file).replace(/^(?:```[\s\S]*?^```|(?: {4}|\t).*)$/gm, "");
    const quoted = [...text.matchAll(/`([^`\s]+)`/g)].map((match) => match[1]!);
    expect(quoted.filter((path) => isMissing(placeOf(path) ?? "."))).toEqual([]);
    const links = [...text.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)]
      .map((match) => match[1]!)
      .filter((link) => !/^[a-z]+:/.test(link));
    const folder = posix.dirname(file);
    expect(links.filter((link) => isMissing(posix.join(folder, link)))).toEqual([]);
  });
});

describe("lengths", () => {
  const LINE = 100;
  const FUNCTION = 70;
  /** Longer than they should be, with why. */
  const longFunctions = [
    // A case for each kind of op, of a few lines each.
    "src/run/float.ts #compute",
    "src/run/gradient.ts #step",
    // A table of functions of a few lines each.
    "src/kernel/reference.ts referenceRingKernels",
    // They group tests of one kernel set.
    "src/kernel/float-kernels.test.ts conformance",
    "src/kernel/ring-kernels.test.ts elementwise",
    "src/kernel/ring-kernels.test.ts products",
    // Rounds and lanes are written out by hand.
    "assembly/chacha.ts chachaBlocks",
    "assembly/chacha.ts fiveBlocks",
  ];

  it(`no line has over ${LINE} columns`, () => {
    // The title of a test stays in one piece.
    const long = new RegExp(`^(?!\\s*(?:it|test|describe)\\b).{${LINE + 1},}$`, "u");
    expect(code.flatMap((path) => linesWith(path, long))).toEqual([]);
  });

  it(`no function has over ${FUNCTION} lines`, () => {
    const long = code.flatMap((path) =>
      functionLengths(path)
        .filter(({ name, lines }) => lines > FUNCTION && !longFunctions.includes(`${path} ${name}`))
        .map(({ name, line, lines }) => `${path}:${line} ${name}: ${lines} lines`),
    );
    expect(long).toEqual([]);
  });
});
