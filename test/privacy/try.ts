import { explore } from "./explore.ts";
import { openGate, gate } from "./gates.ts";
import { greatestDistance } from "./lanes.ts";
const time = (name: string, f: () => unknown) => { const t = performance.now(); const r = f(); console.log(name, r, (performance.now() - t).toFixed(0), "ms"); };
for (const [bits, shift, secrets] of [[3,1,[-1n,0n,1n]],[4,1,[-3n,0n,3n]],[4,2,[-3n,-2n,-1n,0n,1n,2n,3n]]] as const) for (const sq of ["none","each"] as const) {
 if (sq === "each" && bits > 3) continue;
 time(`open ${bits} ${shift} ${sq}`, () => { const e = explore({ bits, outputs: [1], gates: (n) => [openGate({from:0,to:1},[n,1],shift,{squares: sq})],
  inputs: (lanes, z, ring) => new Map([[0, {form:"shared", values: lanes.constant([z], ring.residue(-1n)), clientShare: lanes.variable("input/0", ring.bits)}]]) }, secrets);
  return [e.client[0]!.lanes, greatestDistance(e.client), greatestDistance(e.server), greatestDistance(e.server.map((o,i)=>({...o, given: e.client[i]!.given})))]; });
}
