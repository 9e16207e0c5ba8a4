import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import type { Synonyms } from "./meteor.ts";
import { loadWordnet } from "./wordnet.ts";

/** A folder in the format of wndb(5WN), its content made up. */
const files: Record<string, string> = {
  "index.noun": [
    "  1 A line that begins with blanks is no entry.",
    "pup n 2 1 @ 2 0 00000100 00000200  ",
    "wolf n 1 0 1 0 00000200  ",
    "bus n 1 0 1 0 00000300  ",
  ].join("\n"),
  "data.noun": [
    "  1 A line that begins with blanks is no entry.",
    "00000100 05 n 03 pup 0 whelp 0 young_dog 0 000 | a made-up entry",
    "00000200 05 n 02 wolf 0 Canis 0 000 | another",
    "00000300 06 n 0a bus 0 b1 0 b2 0 b3 0 b4 0 b5 0 b6 0 b7 0 b8 0 coach 0 000 | ten words",
  ].join("\n"),
  "noun.exc": "wolves wolf\nbusses bus\n",
  "index.verb": "walk v 1 0 1 0 00000400  \nwhelp v 1 0 1 0 00000500  \n",
  "data.verb": [
    "00000400 38 v 02 walk 0 stroll 1 000 01 + 02 00 | go",
    "00000500 38 v 02 whelp 0 litter 0 000 | give birth",
  ].join("\n"),
  "verb.exc": "",
  "index.adj": "able a 1 0 1 0 00000600  \n",
  "data.adj": "00000600 00 s 02 able(p) 0 fit(ip) 0 000 | can\n",
  "adj.exc": "",
  "index.adv": "",
  "data.adv": "",
  "adv.exc": "",
};

let dir: string;
let synonyms: Synonyms;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "mergen-wordnet-"));
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  synonyms = await loadWordnet(dir);
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it.each<[word: string, others: string[]]>([
  ["pup", ["pup", "whelp", "wolf", "Canis"]],
  ["Pups", ["pup", "whelp", "wolf", "Canis"]],
  ["wolves", ["wolf", "Canis"]],
  ["busses", ["bus", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "coach"]],
  ["walking", ["walk", "stroll"]],
  ["walks", ["walk", "stroll"]],
  ["whelps", ["whelp", "litter"]],
  ["abler", ["able", "fit"]],
  ["unknown", []],
  ["", []],
])("synonyms of %j", (word, others) => {
  expect([...synonyms(word)].sort()).toEqual(others.sort());
});

it("names what is missing or malformed", async () => {
  const none = await rejectionOf("E_DATA", () => loadWordnet(join(dir, "none")));
  expect(none.message).toMatch(/index\.noun: cannot be read: ENOENT; give the folder of WordNet/);
  await writeFile(join(dir, "index.verb"), "walk v 1 0 1 0 00000400  \nwalk v 2 0 1 0 7\n");
  const bad = await rejectionOf("E_DATA", () => loadWordnet(dir));
  expect(bad.message).toMatch(/index\.verb:2: is no line of WordNet/);
});
