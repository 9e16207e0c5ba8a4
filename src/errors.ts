// Every error that Mergen raises on purpose has one of these codes. A peer is sent the code alone;
// the message stays on the side that raised it. Messages never hold a prompt, a token or a share.

/** All error codes, with what each means. */
export const errorCodes = {
  E_USAGE: "a command-line argument or an option is wrong",
  E_SHAPE: "shapes of an operation do not fit",
  E_RANGE: "a value or a bound lies outside what the ring or a format can hold",
  E_PLAN: "a graph, recipe and number format cannot be turned into gates",
  E_MODEL: "a model folder is missing, corrupt or of an unknown kind",
  E_TOKENIZER: "the tokenizer does not fit the model",
  E_PROMPT: "the prompt is empty, too long, not UTF-8 or does not fit the model's layout",
  E_DATA: "a data file is missing or a line of it is malformed",
  E_CONFIG: "a configuration key is unknown or has a bad value",
  E_FRAME: "a frame is malformed, too long, corrupt or out of order",
  E_PROTOCOL: "a peer sent something that the protocol does not allow at this point",
  E_VERSION: "the peers run different versions",
  E_DIGEST: "the peers hold different plans",
  E_AUTH: "the bearer token is missing or wrong",
  E_TIMEOUT: "a peer did not answer within the stated time",
  E_PEER_GONE: "a peer closed the connection",
  E_BUSY: "the server has as many sessions as it allows, or another process trains into a folder",
  E_CORRELATION: "a correlation is missing or was used before",
  E_STORE: "the bundle store cannot be read or written",
  E_KERNEL: "a kernel cannot be loaded or was called with wrong sizes",
  E_TRAIN: "training cannot go on",
  E_INTERRUPTED: "the run was interrupted",
  E_INTERNAL: "an internal check failed",
} as const;

export type ErrorCode = keyof typeof errorCodes;

/** An error with a stable code and, where there is one, the way to mend it. */
export class MergenError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = "MergenError";
    this.code = code;
  }
}

/** Throws a MergenError unless the condition holds; stays on in production. */
export function ensure(condition: unknown, code: ErrorCode, message: string): asserts condition {
  if (!condition) throw new MergenError(code, message);
}
