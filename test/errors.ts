// Expectations about errors: the code, what the message names and what it must not hold.

import { expect } from "vitest";
import { type ErrorCode, MergenError } from "../src/errors.ts";

/** Runs the body, which must throw a MergenError of this code, and gives it back. */
export function errorOf(code: ErrorCode, body: () => unknown): MergenError {
  let value: unknown;
  try {
    value = body();
  } catch (error) {
    return checked(error, code);
  }
  throw new Error(`no error, expected ${code}; got ${typeof value}`);
}

/** The same for a promise. */
export async function rejectionOf(
  code: ErrorCode,
  body: () => Promise<unknown>,
): Promise<MergenError> {
  try {
    await body();
  } catch (error) {
    return checked(error, code);
  }
  throw new Error(`no error, expected ${code}`);
}

function checked(error: unknown, code: ErrorCode): MergenError {
  if (!(error instanceof MergenError)) throw error;
  expect(error.code).toBe(code);
  return error;
}
