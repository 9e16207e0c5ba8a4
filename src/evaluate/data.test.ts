import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import { itWithShared } from "../../test/shared.ts";
import { MergenError } from "../errors.ts";
import { loadExamples, loadOutputs, numberedExamples, readExamples } from "./data.ts";
import { corpusRougeL } from "./rouge.ts";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mergen-data-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function write(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, content);
  return path;
}

const lines = '{"input":"a","ref":"b"}\n\n{"input":"é","refs":["c","d"],"side":"user"}\r\n';
const examples = [
  { input: "a", refs: ["b"] },
  { input: "é", refs: ["c", "d"] },
];

describe("reading", () => {
  it("gives examples of plain and compressed files", async () => {
    expect(await loadExamples(await write("a.jsonl", lines))).toEqual(examples);
    expect(await loadExamples(await write("a.jsonl.gz", gzipSync(lines)))).toEqual(examples);
    expect(await loadExamples(await write("b.jsonl", lines.trimEnd()))).toEqual(examples);
  });

  it("stops at the limit and does not look further", async () => {
    const path = await write("c.jsonl", `${lines}not JSON`);
    expect(await loadExamples(path, { limit: 2 })).toEqual(examples);
    expect(await loadExamples(path, { limit: 1 })).toEqual(examples.slice(0, 1));
    await rejectionOf("E_DATA", () => loadExamples(path));
    await rejectionOf("E_USAGE", () => loadExamples(path, { limit: 0 }));
  });

  it("may be broken off", async () => {
    const path = await write("d.jsonl.gz", gzipSync(lines.repeat(10_000)));
    for await (const example of readExamples(path)) {
      expect(example).toEqual(examples[0]);
      break;
    }
  });

  it("finds lines across the pieces in which a file is read", async () => {
    const inputs = Array.from({ length: 300 }, (_, i) => "é".repeat((i * 37) % 1500));
    const text = inputs.map((input) => JSON.stringify({ input, ref: "r" })).join("\n");
    const read = await loadExamples(await write("e.jsonl", text));
    expect(read.map(({ input }) => input)).toEqual(inputs);
  });
});

describe("lines", () => {
  it("are told with each example, blank ones among them", async () => {
    const path = await write("numbered.jsonl", lines);
    const read = [];
    for await (const one of numberedExamples(path)) read.push(one);
    expect(read.map(({ line }) => line)).toEqual([1, 3]);
    expect(read.map(({ item }) => item)).toEqual(examples);
  });

  it("may lack an input where it is not needed", async () => {
    const path = await write("refs.jsonl", '{"ref":"a"}\n{"refs":["b"],"input":"c"}\n');
    expect(await loadExamples(path, { inputOptional: true })).toEqual([
      { input: "", refs: ["a"] },
      { input: "c", refs: ["b"] },
    ]);
    await rejectionOf("E_DATA", () => loadExamples(path));
    for (const bad of ['{"input":1,"ref":"a"}', '{"input":"a"}', "[]", "null", '"ref"']) {
      const wrong = await write("bad-refs.jsonl", bad);
      const { message } = await rejectionOf("E_DATA", () =>
        loadExamples(wrong, { inputOptional: true }),
      );
      expect(message).toMatch(/bad-refs\.jsonl:1: lacks either a text "ref" or a list "refs"/);
    }
  });
});

describe("outputs", () => {
  it("are texts, with how they stopped where that is known", async () => {
    const content =
      '{"text":"a","stopped":"end","x":1}\n\n{"text":"","stopped":null}\n{"text":"c"}';
    const outputs = [{ text: "a", stopped: "end" }, { text: "" }, { text: "c" }];
    for (const path of [
      await write("o.jsonl", content),
      await write("o.jsonl.gz", gzipSync(content)),
    ]) {
      expect(await loadOutputs(path)).toEqual(outputs);
      expect(await loadOutputs(path, { limit: 2 })).toEqual(outputs.slice(0, 2));
    }
  });

  it.each<[name: string, content: string, message: RegExp]>([
    ["none.jsonl", "\n", /none\.jsonl: holds no output; give another file/],
    [
      "text.jsonl",
      '{"text":"a"}\n{"texts":"b"}',
      /text\.jsonl:2: no field `text`.*; mend or remove/,
    ],
    ["number.jsonl", '{"text":1}', /number\.jsonl:1: no field `text` that is a text/],
    ["json.jsonl", '{"text":"a"}\n{', /json\.jsonl:2: is not JSON; mend or remove/],
    ["null.jsonl", "null", /null\.jsonl:1: no field `text`/],
  ])("are refused by line: %s", async (name, content, message) => {
    const path = await write(`outputs-${name}`, content);
    expect((await rejectionOf("E_DATA", () => loadOutputs(path))).message).toMatch(message);
  });
});

describe("a file that is wrong", () => {
  const good = '{"input":"a","ref":"b"}\n';
  const secret = "hush";
  const wrong: [name: string, content: string | Uint8Array, message: RegExp][] = [
    ["empty.jsonl", "", /empty\.jsonl: holds no example/],
    ["blank.jsonl", "\n \n", /holds no example/],
    ["json.jsonl", `${good}\n${secret}\n`, /json\.jsonl:3: is not JSON/],
    ["input.jsonl", `{"ref":"${secret}"}`, /input\.jsonl:1: lacks/],
    ["ref.jsonl", `${good}{"input":"${secret}"}`, /ref\.jsonl:2: lacks/],
    ["both.jsonl", '{"input":"a","ref":"b","refs":["c"]}', /:1: lacks/],
    ["none.jsonl", '{"input":"a","refs":[]}', /:1: lacks/],
    ["kind.jsonl", '{"input":"a","refs":[1]}', /:1: lacks/],
    ["list.jsonl", "[1]", /:1: lacks/],
    ["utf8.jsonl", Uint8Array.of(0x22, 0xff, 0x22), /utf8\.jsonl:1: is not UTF-8/],
    ["long.jsonl", good + "x".repeat(2 << 20), /long\.jsonl:2: is longer/],
    ["plain.jsonl.gz", good, /not a whole gzip/],
    ["cut.jsonl.gz", gzipSync(lines).subarray(0, 30), /not a whole gzip/],
    ["bomb.jsonl.gz", gzipSync(Buffer.alloc(32 << 20)), /bomb\.jsonl\.gz:1: is longer/],
  ];
  it.each(wrong)("is named: %s", async (name, content, message) => {
    const path = await write(name, content);
    const error = await rejectionOf("E_DATA", () => loadExamples(path));
    expect(error.message).toMatch(message);
    expect(error.message.startsWith(path)).toBe(true);
    expect(error.message).not.toContain(secret);
  });

  it("is named when it is missing or a folder", async () => {
    const missing = await rejectionOf("E_DATA", () => loadExamples(join(dir, "no.jsonl.gz")));
    expect(missing.message).toMatch(/no\.jsonl\.gz: cannot be read: ENOENT/);
    await rejectionOf("E_DATA", () => loadExamples(dir));
  });

  it("is answered with examples or E_DATA, whatever the mutation", async () => {
    const source = gzipSync(lines.repeat(3));
    const edit = fc.tuple(fc.nat(source.length - 1), fc.nat(255));
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
        const bytes = Uint8Array.from(source);
        for (const [at, value] of edits) bytes[at] = value;
        try {
          await loadExamples(await write("fuzz.jsonl.gz", bytes));
        } catch (error) {
          if (!(error instanceof MergenError)) throw error;
          expect(error.code).toBe("E_DATA");
        }
      }),
    );
  });
});

describe("the data sets", () => {
  itWithShared("data/e2e", "have their stated sizes", async (folder) => {
    const dev = await loadExamples(join(folder, "dev.jsonl.gz"));
    expect(dev.length).toBe(547);
    expect(dev.reduce((sum, { refs }) => sum + refs.length, 0)).toBe(4672);
    expect((await loadExamples(join(folder, "train.jsonl.gz"))).length).toBe(42061);
  });

  itWithShared("data/e2e", "are scored well below a second", async (folder) => {
    const dev = await loadExamples(join(folder, "dev.jsonl.gz"));
    const references = dev.map(({ refs }) => refs);
    const started = performance.now();
    expect(
      corpusRougeL(
        references.map(([ref]) => ref),
        references,
      ),
    ).toBe(1);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
