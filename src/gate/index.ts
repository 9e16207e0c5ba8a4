// All gates, by kind. A segment of a plan is a list of these descriptions.

import { type Argmax, argmax } from "./argmax.ts";
import { type Mix, mix, type Scores, scores } from "./bilinear.ts";
import { type Cache, cache } from "./cache.ts";
import { type Exchange, exchange } from "./exchange.ts";
import type { Gate, GateBase } from "./gate.ts";
import { type IndexOneHot, indexOneHot } from "./index-one-hot.ts";
import { type Linear, linear } from "./linear.ts";
import {
  type Bias,
  bias,
  type Center,
  type Concat,
  center,
  concat,
  type Load,
  load,
  type Share,
  type Slice,
  type Store,
  type Sum,
  share,
  slice,
  store,
  sum,
} from "./local.ts";
import { type Logits, logits } from "./logits.ts";
import { type Max, max } from "./max.ts";
import { type OneHot, oneHot } from "./one-hot.ts";
import { type Open, open } from "./open.ts";
import { type Piecewise, piecewise } from "./piecewise.ts";
import { type Product, product } from "./product.ts";
import { type Quad, quad } from "./quad.ts";
import { type Remask, remask } from "./remask.ts";
import { type Reveal, reveal } from "./reveal.ts";
import {
  type Rope,
  type RowDifference,
  type RowShift,
  type RowSum,
  rope,
  rowDifference,
  rowShift,
  rowSum,
  type Unmask,
  unmask,
} from "./rows.ts";
import { type Spline, spline } from "./spline.ts";
import { type SumSquares, sumSquares } from "./sum-squares.ts";

export type GateSpec =
  | Argmax
  | Bias
  | Cache
  | Center
  | Concat
  | IndexOneHot
  | Exchange
  | Linear
  | Load
  | Logits
  | Max
  | Mix
  | OneHot
  | Open
  | Piecewise
  | Product
  | Quad
  | Remask
  | Reveal
  | Rope
  | RowDifference
  | RowShift
  | RowSum
  | Scores
  | Share
  | Slice
  | Spline
  | Store
  | Sum
  | SumSquares
  | Unmask;

const gates: { readonly [K in GateSpec["kind"]]: Gate<Extract<GateSpec, { kind: K }>> } = {
  argmax,
  bias,
  cache,
  center,
  concat,
  indexOneHot,
  exchange,
  linear,
  load,
  logits,
  max,
  mix,
  oneHot,
  open,
  piecewise,
  product,
  quad,
  remask,
  reveal,
  rope,
  rowDifference,
  rowShift,
  rowSum,
  scores,
  share,
  slice,
  spline,
  store,
  sum,
  sumSquares,
  unmask,
};

/** The implementation of a gate's kind. */
export function gateOf<S extends GateSpec>(spec: S): Gate<S> {
  return gates[spec.kind] as unknown as Gate<S>;
}

export type { GateBase };
