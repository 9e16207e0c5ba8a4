// stories260K, a small real model of llama2.c, and the text that it is published with.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { itWithShared } from "./shared.ts";

export interface StoryFiles {
  readonly weights: string;
  readonly tokenizer: string;
}

/** A test that gets the files and the greedy text of 256 tokens, which its README quotes. */
export function sharedStories(
  name: string,
  body: (files: StoryFiles, published: string) => Promise<void>,
): void {
  itWithShared("models/stories260K", name, (dir) => {
    const readme = readFileSync(join(dir, "README.md"), "utf8");
    const quoted = readme.split("\n").filter((line) => line.startsWith("> "));
    const published = quoted.map((line) => line.slice(2)).join("\n");
    const [weights, tokenizer] = ["stories260K.bin", "tok512.bin"].map((file) => join(dir, file));
    return body({ weights: weights!, tokenizer: tokenizer! }, published);
  });
}
