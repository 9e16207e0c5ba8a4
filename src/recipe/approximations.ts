// Polynomials in the place of GELU and exp, as the systems that are compared have published them.

import type { ExpForm, PiecewisePolynomial } from "../graph/ops.ts";

export type GeluApproximation = "puma" | "bolt" | "east";
export type ExpApproximation = "puma" | "bolt" | "east";

/** 0, below the first edge. */
const nothing = [0];
/** x, from the last edge on. */
const identity = [0, 1];

/** BOLT's polynomial in |x| (IEEE S&P 2024): constant, |x|, x^2, |x|^3, x^4; and x / 2. */
const bolt = [0.0016208085, -0.0379816461, 0.5410550166, -0.1835250613, 0.0208486118] as const;
const boltAt = (sign: 1 | -1) => [bolt[0], 0.5 + sign * bolt[1], bolt[2], sign * bolt[3], bolt[4]];

/** Own fit on [-4, -1.9), greatest error 4e-4; see `test/vectors/east-pieces.py`. */
const eastTail = [-0.501651122, -0.417159059, -0.116121485, -0.010800405] as const;

/**
 * GELU by parts.
 *   puma  Dong et al. 2023 (arXiv 2307.12533): degrees 3 and 6; error up to 0.02, at 3
 *   bolt  Pang et al. 2024; its |x| <= 2.7, where it leaves a step of 0.011 to 0 and to x
 *   east  Ding et al. 2023 (arXiv 2308.09923) ask for an error of 1e-3 and print no coefficients:
 *         own fit, greatest error 7e-4
 */
export const geluPieces: Record<GeluApproximation, PiecewisePolynomial> = {
  puma: {
    edges: [-4, -1.95, 3],
    pieces: [
      nothing,
      [-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728],
      [
        0.008526321541038084, 0.5, 0.3603292692789629, 0, -0.037688200365904236, 0,
        0.0018067462606141187,
      ],
      identity,
    ],
  },
  bolt: { edges: [-2.7, 0, 2.7], pieces: [nothing, boltAt(-1), boltAt(1), identity] },
  east: {
    edges: [-4, -1.9, 1.9, 4],
    pieces: [
      nothing,
      [...eastTail],
      [0.000688675, 0.5, 0.39226569, 0, -0.056190546, 0, 0.00449859],
      // GELU(x) = x + GELU(-x).
      [eastTail[0], 1 - eastTail[1], eastTail[2], -eastTail[3]],
      identity,
    ],
  },
};

/** SiLU by parts as SPU has it for PUMA; error up to 0.072, just above 4. Others have none. */
export const siluPieces: Partial<Record<GeluApproximation, PiecewisePolynomial>> = {
  puma: {
    edges: [-8, -4, 4],
    pieces: [
      nothing,
      [-0.3067541, -0.0819767, -0.0055466],
      [0.0085064, 0.5, 0.2281431, 0, -0.011113, 0, 0.00027438],
      identity,
    ],
  },
};

/** (1 + z / 32)^32, and 0 below -14: greatest error 9e-3, near z = -2. */
const limit: ExpForm = { kind: "limit", least: -14, doublings: 5 };

/**
 * exp(z) for z <= 0.
 *   puma  the limit form (arXiv 2307.12533, t = 5)
 *   bolt  the same form and clip, as BOLT and BumbleBee (NDSS 2025) are compared
 *   east  own fit of cubics to an error of 1e-3, see `test/vectors/east-pieces.py`
 */
export const expForms: Record<ExpApproximation, ExpForm> = {
  puma: limit,
  bolt: limit,
  east: {
    kind: "piecewise",
    edges: [-7.5, -3.5, -1.25],
    pieces: [
      nothing,
      [0.261051506, 0.117364484, 0.017839496, 0.000910618],
      [0.830785328, 0.625658919, 0.172938137, 0.017028819],
      [0.999564569, 0.988117118, 0.44867364, 0.091853501],
    ],
  },
};
