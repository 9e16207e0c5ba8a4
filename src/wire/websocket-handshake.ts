// What both WebSocket clients and the server agree on; browser-safe.

import { ensure, MergenError } from "../errors.ts";

/** Offered by every client and echoed by the server. */
export const subprotocol = "mergen";
/** A browser's way to send its token: this and the token in base64url, as a second subprotocol. */
export const bearerPrefix = "mergen.bearer.";

/** @throws E_CONFIG unless the token is 1 to 512 printable ASCII characters without spaces */
export function checkToken(token: string): void {
  const wanted = "a bearer token must be 1 to 512 printable ASCII characters without spaces";
  ensure(/^[\x21-\x7e]{1,512}$/.test(token), "E_CONFIG", wanted);
}

/** @throws E_CONFIG unless this is a ws:// or wss:// address without user, password or fragment */
export function checkUrl(text: string): URL {
  if (!URL.canParse(text)) throw new MergenError("E_CONFIG", "the server address is not a URL");
  const url = new URL(text);
  const known = url.protocol === "ws:" || url.protocol === "wss:";
  ensure(known, "E_CONFIG", "the server address must start with ws:// or wss://");
  const plain = url.username === "" && url.password === "" && url.hash === "";
  ensure(plain, "E_CONFIG", "the server address holds a user, a password or a fragment");
  return url;
}
