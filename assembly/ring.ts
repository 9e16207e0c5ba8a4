// Entry of ring.wasm: loops over Z_2^64, ChaCha12 and function secret sharing. Memory is managed
// by the caller (src/kernel/wasm.ts): every function takes byte addresses, allocates nothing and
// keeps no state, so that several threads can run it on one shared memory.

export * from "./elementwise";
export { pack, unpack } from "./packed";
export { int16Bytes, limbRowBytes, packInt16, productInt16, splitLimbs } from "./int16";
export { packRing, productRing, ringBytes } from "./product";
export { keystreamWorkBytes, productKeystream } from "./keystream";
export { attendInt16, attendWords } from "./attend";
export { chachaStream } from "./chacha";
export { treeGenerate } from "./tree";
export { treeEvaluate } from "./tree-evaluate";
export { piecewise } from "./piecewise";

/** First address that the module itself does not use. */
export function heapBase(): usize {
  return __heap_base;
}
