// Writes corpus.json beside it: frames to accept and frames to reject, made from the description of
// the format with an encoder and a bit-by-bit CRC of its own. Run: node test/vectors/frames/make.ts

import { writeFileSync } from "node:fs";

interface Fields {
  length?: number;
  kind?: number;
  flags?: number;
  version?: number;
  seq?: number;
  crcFlip?: number;
  payload?: string;
}

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

function frame(fields: Fields): string {
  const payload = Buffer.from(fields.payload ?? "", "latin1");
  const head = Buffer.alloc(16);
  head.writeUInt32LE(fields.length ?? payload.length, 0);
  head.writeUInt8(fields.kind ?? 3, 4);
  head.writeUInt8(fields.flags ?? 1, 5);
  head.writeUInt16LE(fields.version ?? 1, 6);
  head.writeUInt32LE(fields.seq ?? 0, 8);
  const crc = crc32c(Buffer.concat([head, payload])) ^ (fields.crcFlip ?? 0);
  head.writeUInt32LE(crc >>> 0, 12);
  return Buffer.concat([head, payload]).toString("hex");
}

const text = "known answer";
const whole = frame({ payload: text });
const cases = [
  { name: "control", frames: [frame({ kind: 1, payload: '{"type":"hello"}' })], kind: "control" },
  { name: "bundle", frames: [frame({ kind: 2, payload: text })], kind: "bundle" },
  { name: "online", frames: [whole], kind: "online" },
  { name: "upload", frames: [frame({ kind: 4, payload: text })], kind: "upload" },
  { name: "model", frames: [frame({ kind: 5, payload: text })], kind: "model" },
  { name: "empty", frames: [frame({})], kind: "online" },
  { name: "two in order", frames: [whole, frame({ seq: 1, payload: text })], kind: "online" },
  { name: "no bytes", frames: [""], error: "E_FRAME" },
  { name: "one byte", frames: ["00"], error: "E_FRAME" },
  { name: "header cut short", frames: [whole.slice(0, 30)], error: "E_FRAME" },
  { name: "payload cut short", frames: [whole.slice(0, -2)], error: "E_FRAME" },
  { name: "bytes after the end", frames: [`${whole}00`], error: "E_FRAME" },
  { name: "claims 4 GiB", frames: [frame({ length: 0xffffffff })], error: "E_FRAME" },
  { name: "claims 1 MiB", frames: [frame({ length: 0xffff0, payload: text })], error: "E_FRAME" },
  { name: "claims less", frames: [frame({ length: 3, payload: text })], error: "E_FRAME" },
  { name: "wrong checksum", frames: [frame({ payload: text, crcFlip: 1 })], error: "E_FRAME" },
  { name: "checksum of nothing", frames: ["00".repeat(16)], error: "E_FRAME" },
  { name: "version 0", frames: [frame({ version: 0 })], error: "E_VERSION" },
  { name: "version 2", frames: [frame({ version: 2 })], error: "E_VERSION" },
  { name: "kind 0", frames: [frame({ kind: 0 })], error: "E_FRAME" },
  { name: "kind 6", frames: [frame({ kind: 6 })], error: "E_FRAME" },
  { name: "kind 255", frames: [frame({ kind: 255 })], error: "E_FRAME" },
  { name: "unknown flag", frames: [frame({ flags: 3 })], error: "E_FRAME" },
  { name: "starts at 1", frames: [frame({ seq: 1 })], error: "E_FRAME" },
  { name: "repeated", frames: [whole, whole], error: "E_FRAME" },
  { name: "one lost", frames: [whole, frame({ seq: 2 })], error: "E_FRAME" },
  { name: "not last, not full", frames: [frame({ flags: 0, payload: text })], error: "E_FRAME" },
  { name: "not last, empty", frames: [frame({ flags: 0 })], error: "E_FRAME" },
  { name: "long control", frames: [frame({ kind: 1, flags: 0 })], error: "E_FRAME" },
];

const origin = "test/vectors/frames/make.ts, from the format described in src/wire/frame.ts";
const lines = cases.map((one) => `    ${JSON.stringify(one)}`).join(",\n");
const file = `{\n  "origin": ${JSON.stringify(origin)},\n  "cases": [\n${lines}\n  ]\n}\n`;
writeFileSync(new URL("corpus.json", import.meta.url), file);
