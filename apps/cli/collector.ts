// A setting of the garbage collector for programs that are parties. By default V8 marks the whole
// heap again for every 64 MB of array buffers that were made since the last time, on threads of its
// own: with bundles of 100 MB and more that is a third of all processor time (a prompt of 64 tokens
// on GPT-2's shape, two cores: 3.3 s online with it, 2.3 s without, 9.6 s and 6.0 s offline). Here
// buffers count toward the limit of the heap as a whole. Nothing of this changes what is computed.

import { setFlagsFromString } from "node:v8";

/** The version that this package brings: others may not know the flag, and say so. */
const KNOWN_TO = "24";

if (process.versions.node.split(".")[0] === KNOWN_TO) {
  setFlagsFromString("--external-memory-accounted-in-global-limit");
}
