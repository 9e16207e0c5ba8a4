// The command line: parses, calls the library, prints. Results go to standard output, all else to
// standard error. Exit status: 0 done, 1 failed (a named error), 2 wrong usage, 130 interrupted.

import "./collector.ts";
import { Command, CommanderError } from "commander";
import { MergenError } from "../../src/index.ts";
import { addAdapt } from "./commands/adapt.ts";
import { addBench } from "./commands/bench.ts";
import { addDealer } from "./commands/dealer.ts";
import { addDemo } from "./commands/demo.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addEval } from "./commands/eval.ts";
import { addGenerate } from "./commands/generate.ts";
import { addImport } from "./commands/import.ts";
import { addInit } from "./commands/init.ts";
import { addPlan } from "./commands/plan.ts";
import { addRelay } from "./commands/relay.ts";
import { addRun } from "./commands/run.ts";
import { addServe } from "./commands/serve.ts";
import { addTrain } from "./commands/train.ts";
import { packageVersion } from "./package-info.ts";

function program(): Command {
  const root = new Command("mergen")
    .description(
      "Private text generation: the server never sees the prompt or the text,\n" +
        "the client never sees the weights.",
    )
    .version(packageVersion())
    .showHelpAfterError("(add --help for the options)")
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`E_USAGE: ${text.replace(/^error: /, "")}`),
    });
  for (const add of [
    addDemo,
    addServe,
    addDealer,
    addGenerate,
    addRun,
    addEval,
    addPlan,
    addTrain,
    addAdapt,
    addBench,
    addDoctor,
    addRelay,
    addInit,
    addImport,
  ]) {
    add(root);
  }
  return root;
}

/** Exit status for what went wrong; says it on standard error. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof MergenError) {
    process.stderr.write(`${error.code}: ${error.message}\n`);
    if (error.code === "E_USAGE") return 2;
    return error.code === "E_INTERRUPTED" ? 130 : 1;
  }
  const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`E_INTERNAL: ${detail}\n`);
  return 1;
}

// A reader that goes away (| head) is no failure; a full disk is.
process.stdout.on("error", ({ code }: NodeJS.ErrnoException) => {
  if (code === "EPIPE") process.exit(0);
  const message = `standard output cannot be written: ${code}; give it another file`;
  process.exit(report(new MergenError("E_USAGE", message)));
});

try {
  await program().parseAsync(process.argv);
} catch (error) {
  process.exitCode = report(error);
  // A parent that waits for an address would else wait on: a listener keeps the channel open.
  if (process.connected) process.disconnect();
}
