// What the package offers: the names it exports, the files that package.json points to, the
// packages it depends on, and how much a browser has to load.

import { readFile } from "node:fs/promises";
import { createContext, runInContext } from "node:vm";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import {
  connectWebSocket,
  Dealer,
  listenWebSocket,
  loadRingKernels,
  Channel as NodeChannel,
  Server,
} from "../src/index.ts";
import { mergedModel, tokenizerBytes } from "./merged-model.ts";
import { codeFolders, exists, filesIn, importsOf, packageOf, parse, root, textOf } from "./tidy.ts";

const packageJson = JSON.parse(textOf("package.json"));

/** All names of an entry, types marked as such. */
function exportedNames(entry: string): string[] {
  const names: string[] = [];
  for (const statement of parse(entry).statements) {
    if (!ts.isExportDeclaration(statement)) continue;
    const { exportClause, isTypeOnly } = statement;
    if (!exportClause || !ts.isNamedExports(exportClause)) throw new Error(`${entry}: export *`);
    for (const { name, isTypeOnly: isType } of exportClause.elements) {
      names.push(isTypeOnly || isType ? `type ${name.text}` : name.text);
    }
  }
  return names.sort();
}

const isType = (name: string) => name.startsWith("type ");

/** Three names a line. */
const inLines = (names: readonly string[]) =>
  names.map((name, i) => name + (i % 3 === 2 ? "\n" : ", ")).join("");

describe("exported names", () => {
  it("of src/index.ts: values", () => {
    const names = exportedNames("src/index.ts").filter((name) => !isType(name));
    expect(inLines(names)).toMatchInlineSnapshot(`
      "Channel, Client, Dealer
      MergenError, QUALITY_FORMAT, Server
      checkModelFolder, computedPart, connectWebSocket
      crc32c, createSampler, decodeFloat
      describeKernels, encodePrompt, ensure
      errorCodes, evaluate, fileStore
      fixedBench, floatBench, generationOptions
      importHuggingFace, importLlama2c, insecureSecureBench
      isMerged, keyLayout, listenWebSocket
      loadConfig, loadCrc32c, loadExamples
      loadFloatKernels, loadModel, loadOutputs
      loadQualityResult, loadRingKernels, loadTokenizer
      logitError, memoryStore, modelWithRecipe
      needsInputs, networks, numberedExamples
      parseTrainConfig, parts, partsOf
      planGeneration, predict, predictParts
      presetNames, promptPositions, promptText
      randomModel, readExamples, runStage
      saveModel, scoreItems, scoreOutputs
      servable, shapeConfig, shapeNames
      slotTasks, startRelay, svgOf
      taskOf, testCrc32c, testFloatKernels
      testRingKernels, threadPreparer, withRecipe
      "
    `);
  });

  it("of src/index.ts: types", () => {
    const names = exportedNames("src/index.ts").filter((name) => isType(name));
    expect(inLines(names)).toMatchInlineSnapshot(`
      "type AskedOptions, type BundleStore, type ChannelOptions
      type ClientOptions, type CorpusScore, type Crc32c
      type DealerOptions, type DecodeFloatOptions, type Draft
      type ErrorCode, type EvaluateOptions, type EvaluationReport
      type Example, type FloatKernels, type FloatTiming
      type GateWatch, type GenerateOptions, type Generation
      type GenerationOptions, type ImportOptions, type ItemReport
      type ItemScore, type KernelReport, type LinkOptions
      type LocalBench, type LocalOptions, type LogitError
      type MatchScore, type Mode, type Model
      type ModelConfig, type Numbered, type Output
      type Part, type PartBytes, type PartPrediction
      type Plan, type Prediction, type Preparer
      type PreparerSetup, type PresetName, type QualityMetrics
      type QualityResult, type RandomModelOptions, type ReadOptions
      type Relay, type RelayOptions, type RingKernels
      type RunOptions, type SampleOptions, type SegmentCost
      type SegmentProgress, type ServableOptions, type ServerOptions
      type ShapeOptions, type SlotReport, type SlotTask
      type SlotTotals, type StartPreparer, type StudyConfig
      type Task, type Transport, type WebSocketListener
      "
    `);
  });

  it("of src/client.ts", () => {
    expect(exportedNames("src/client.ts").join("\n")).toMatchInlineSnapshot(`
      "Channel
      Client
      MergenError
      connectBrowserWebSocket
      errorCodes
      loadWasmRingKernels
      memoryStore
      type BrowserConnectOptions
      type BundleStore
      type ChannelOptions
      type ClientOptions
      type ErrorCode
      type GenerateOptions
      type Generation
      type RingKernels
      type SampleOptions
      type Transport"
    `);
  });
});

describe("package.json", () => {
  /** The source that dist/... is built from, or the path itself. */
  const sourceOf = (path: string) =>
    path.replace(/^\.\//, "").replace(/^dist\/(.*?)(?:\.d\.ts|\.js)$/, "$1.ts");

  it("points to files that exist or are built", () => {
    const built = textOf("assembly/build.js");
    const targets = Object.values(packageJson.exports as Record<string, string | object>).flatMap(
      (target) => (typeof target === "string" ? [target] : (Object.values(target) as string[])),
    );
    const missing = [...targets, ...(Object.values(packageJson.bin) as string[])].filter((path) =>
      path.startsWith("./build/")
        ? !built.includes(`"${path.slice("./build/".length)}"`)
        : !exists(sourceOf(path)),
    );
    expect(missing).toEqual([]);
    expect(targets.length).toBeGreaterThan(4);
  });

  it("lists the packages that the code imports, and no others", () => {
    const imported = new Map<string, string>();
    const code = filesIn(codeFolders, [".ts", ".js"]);
    for (const path of [...code, "vitest.config.ts"]) {
      for (const { specifier } of importsOf(path)) {
        const name = packageOf(specifier);
        const shipped = path.startsWith("src/") || path.startsWith("apps/");
        if (name === undefined) continue;
        if (shipped && !path.endsWith(".test.ts")) imported.set(name, "dependency");
        else if (!imported.has(name)) imported.set(name, "for development");
      }
    }
    const { dependencies, devDependencies } = packageJson;
    const names = (kind: string) =>
      [...imported].filter(([, of]) => of === kind).map(([name]) => name);
    expect(names("dependency").sort()).toEqual(Object.keys(dependencies).sort());
    const declared = [...Object.keys(dependencies), ...Object.keys(devDependencies)];
    // Vitest brings its bundler.
    const development = names("for development").filter((name) => name !== "rolldown");
    expect(development.filter((name) => !declared.includes(name))).toEqual([]);
    const tools = ["@biomejs/biome", "node"];
    const unused = Object.keys(devDependencies).filter(
      (name) => !name.startsWith("@types/") && !tools.includes(name) && !imported.has(name),
    );
    expect(unused).toEqual([]);
  });

  it("has types of packages that it uses only", () => {
    const { dependencies, devDependencies } = packageJson;
    const typed = Object.keys(devDependencies).filter((name) => name.startsWith("@types/"));
    const wanted = typed.map((name) => name.slice("@types/".length));
    expect(wanted.filter((name) => name !== "node" && !(name in dependencies))).toEqual([]);
  });
});

describe("the browser's bundle", () => {
  const LIMIT_BYTES = 259_500;
  const LIMIT_GZIP_BYTES = 82_300;

  /** What a page has beside the language itself; the two arrays are what its sockets hand over. */
  const webGlobals = [
    ...["ArrayBuffer", "Uint8Array", "Blob", "TextDecoder", "TextEncoder", "URL", "WebSocket"],
    ...["atob", "btoa", "clearTimeout", "crypto", "performance", "queueMicrotask", "setTimeout"],
  ];
  const globalOf = (name: string) => globalThis[name as keyof typeof globalThis];

  async function bundle(format: "es" | "iife") {
    const built = await rolldown({ input: `${root}src/client.ts`, platform: "browser" });
    const { output } = await built.generate({ minify: true, format, name: "Mergen" });
    await built.close();
    expect(output).toHaveLength(1);
    return output[0];
  }

  it("is small, whole and free of Node", async () => {
    const { code, imports, dynamicImports } = await bundle("es");
    expect([...imports, ...dynamicImports]).toEqual([]);
    expect(code).not.toMatch(/["'`]node:/);
    expect(Buffer.byteLength(code)).toBeLessThan(LIMIT_BYTES);
    expect(gzipSync(code).length).toBeLessThan(LIMIT_GZIP_BYTES);
  });

  it("generates privately where there is nothing of Node", async () => {
    const { code } = await bundle("iife");
    const context = createContext(
      Object.fromEntries(webGlobals.map((name) => [name, globalOf(name)])),
    );
    runInContext(code.replace(/^var /, "globalThis."), context);
    const { Channel, Client, connectBrowserWebSocket, loadWasmRingKernels } =
      context.Mergen as typeof import("../src/client.ts");

    const model = mergedModel({ maxTokens: 4 });
    const token = "secret";
    const serverKernels = await loadRingKernels();
    const dealer = new Dealer({ kernels: serverKernels });
    const listen = (service: { serve(channel: NodeChannel): Promise<void> }) =>
      listenWebSocket({
        token,
        onConnection: (transport) => void service.serve(new NodeChannel(transport)),
      });
    const dealing = await listen(dealer);
    const server = await Server.create({
      kernels: serverKernels,
      config: model.config,
      weights: model.weights,
      tokenizer: tokenizerBytes(model),
      connectDealer: async () => new NodeChannel(await connectWebSocket(dealing.url, { token })),
    });
    await server.register();
    const serving = await listen(server);
    const kernels = await loadWasmRingKernels(await readFile(`${root}build/ring.wasm`));
    const connect = (url: string) => async () =>
      new Channel(await connectBrowserWebSocket(url, { token }));
    const generation = await new Client({ kernels }).generate({
      connectServer: connect(serving.url),
      connectDealer: connect(dealing.url),
      prompt: "pub",
      ignoreEnd: true,
    });
    await Promise.all([serving.close(), dealing.close()]);
    expect(generation.tokens).toHaveLength(4);
    expect(generation.mode).toBe("secure");
  });
});
