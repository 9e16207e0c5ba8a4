// How many tokens a second does one server give to several clients at a time?

import type { BenchContext, Group } from "../context.ts";
import { measurePlain, promptOf } from "../measure.ts";
import { makeRow, type Row } from "../rows.ts";
import { measureSessions } from "../sessions.ts";
import { SHAPE } from "./token.ts";

const PROMPT_TOKENS = 4;
const CLIENTS = [1, 2, 4, 8];

async function run(context: BenchContext): Promise<Row[]> {
  const { quick, shape = SHAPE } = context;
  const folder = await context.modelFolder({ shape });
  const [tokens, repeats] = quick ? [16, 1] : [32, 3];
  const counts = quick ? CLIENTS.slice(0, 3) : CLIENTS;
  const plain = await measurePlain(folder, { promptTokens: PROMPT_TOKENS, tokens });
  const reference = { name: "in the clear", value: 1 / plain.timing.secondsPerToken };
  const needs = { maxSessions: counts.at(-1)! };
  return context.withParties(folder, needs, async ({ server, dealer }) => {
    const task = { server, dealer, prompt: promptOf(PROMPT_TOKENS), tokens };
    await measureSessions({ ...task, clients: 1 }); // warms up
    const rows: Row[] = [];
    for (const clients of counts) {
      const samples: number[] = [];
      for (let i = 0; i < repeats; i++) {
        samples.push((await measureSessions({ ...task, clients })).tokensPerSecond);
      }
      const name = `${shape}: ${clients} ${clients === 1 ? "client" : "clients"} at a time, online`;
      rows.push(makeRow({ name, unit: "tokens/s", better: "more", samples, reference }));
    }
    return rows;
  });
}

export const sessions: Group = {
  name: "sessions",
  question: "tokens a second of one server, by the clients at a time; all on this machine",
  run,
};
