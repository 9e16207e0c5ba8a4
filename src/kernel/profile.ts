// Where the kernels' time goes: wraps a kernel set and adds up calls and milliseconds by operation.

import type { KeystreamMatrix, RingKernels, RingMatrix } from "./ring-kernels.ts";

export interface OperationTime {
  calls: number;
  ms: number;
}

export interface KernelProfile {
  /** The same kernels, timed. */
  readonly kernels: RingKernels;
  /** By operation; products by the kind of their matrix and their number of rows. */
  readonly times: Map<string, OperationTime>;
}

/** Costs two clock readings a call, some 0.1 us. */
export function profileKernels(kernels: RingKernels): KernelProfile {
  const times = new Map<string, OperationTime>();
  const timed = new Proxy(kernels, {
    get(target, name) {
      const found = Reflect.get(target, name) as unknown;
      if (typeof found !== "function") return found;
      return (...args: unknown[]) => {
        const started = performance.now();
        const result = Reflect.apply(found, target, args) as unknown;
        add(times, operationName(String(name), args), performance.now() - started);
        return result;
      };
    },
  });
  return { kernels: timed, times };
}

function operationName(name: string, args: readonly unknown[]): string {
  if (name !== "matmul" && name !== "matmulKeystream") return name;
  const [, x, matrix] = args as [unknown, BigUint64Array, RingMatrix | KeystreamMatrix];
  if ("kind" in matrix) {
    const rows = x.length / matrix.rows === 1 ? "one row" : "rows";
    return `product ${matrix.kind}, ${rows}`;
  }
  return "product keystream";
}

function add(times: Map<string, OperationTime>, name: string, ms: number): void {
  const time = times.get(name) ?? { calls: 0, ms: 0 };
  time.calls++;
  time.ms += ms;
  times.set(name, time);
}
