#!/usr/bin/env node
// Launcher: finds a Node that is new enough, then runs the sources of a clone or the built package.
// Plain JavaScript that any Node can read, and it never moves: npx keeps a link to it.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const major = Number(process.versions.node.split(".")[0]);
const wanted = 24;
const reentered = "MERGEN_LAUNCHED";

/** The node that the npm package `node` brought, beside us or where we were installed. */
function bundledNode() {
  const name = process.platform === "win32" ? "node.exe" : "node";
  const places = [join(root, "node_modules"), join(root, "..")];
  return places.map((place) => join(place, "node", "bin", name)).find((path) => existsSync(path));
}

function rerun(node) {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const child = spawn(node, args, {
    stdio: process.channel ? ["inherit", "inherit", "inherit", "ipc"] : "inherit",
    env: { ...process.env, [reentered]: "1" },
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    // A terminal sends Ctrl-C to the child as well; a second one would end it without order.
    const passedOn = signal === "SIGINT" && process.stdin.isTTY;
    process.on(signal, () => passedOn || child.kill(signal));
  }
  child.on("exit", (code, signal) => {
    process.exitCode = signal ? 128 + (signal === "SIGINT" ? 2 : 15) : (code ?? 1);
  });
}

/** A launcher that is killed takes its process along: another one may have the same work to do. */
function endWithLauncher() {
  const launcher = process.ppid;
  const look = () => process.ppid !== launcher && process.kill(process.pid, "SIGKILL");
  setInterval(look, 200).unref();
}

if (process.env[reentered]) endWithLauncher();
const node = major < wanted && !process.env[reentered] ? bundledNode() : undefined;
const source = join(root, "apps", "cli", "main.ts");
const built = join(root, "dist", "apps", "cli", "main.js");
if (node) rerun(node);
else if (existsSync(source) && major >= wanted) await import(pathToFileURL(source).href);
else if (existsSync(built)) await import(pathToFileURL(built).href);
else {
  process.stderr.write(`mergen needs Node ${wanted} or newer: run npm ci, which brings it\n`);
  process.exitCode = 1;
}
