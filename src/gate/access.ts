// Reading wires in the form that a gate needs. A wire in another form is a fault of the planner.

import { ensure } from "../errors.ts";
import type { Part } from "../ring/parts.ts";
import type { Ring, Words } from "../ring/ring.ts";
import { partOfWire, valueShare } from "../share/opened.ts";
import type { OpenedWire } from "../share/wires.ts";

/** The wire itself; it must have been computed before. */
export function wire<W>(context: { readonly wires: ReadonlyMap<number, W> }, id: number): W {
  const found = context.wires.get(id);
  ensure(found !== undefined, "E_INTERNAL", `wire ${id} was read before it was written`);
  return found;
}

type AnyWire = { readonly form: string };

/** This party's share of a shared wire. */
export function shareOf<W extends AnyWire>(
  context: { readonly wires: Map<number, W> },
  id: number,
): Words {
  const found = wire(context, id) as AnyWire as { form: string; share?: Words };
  ensure(found.form === "shared" && found.share, "E_INTERNAL", `wire ${id} is not shared`);
  return found.share;
}

/** This party's share of a shared or an opened wire. */
export function valueShareOf<W extends AnyWire>(
  context: { readonly ring: Ring; readonly wires: Map<number, W> },
  id: number,
  isServer: boolean,
): Words {
  if (wire(context, id).form !== "opened") return shareOf(context, id);
  return valueShare(context.ring, openedOf(context, id), isServer);
}

/** The same, of any part. */
export function valuePartsOf<W extends AnyWire>(
  context: { readonly wires: Map<number, W> },
  id: number,
  isServer: boolean,
): (part: Part) => Words {
  if (wire(context, id).form !== "opened") {
    const share = shareOf(context, id);
    return (part) => part.of(share);
  }
  const opened = openedOf(context, id);
  return (part) => valueShare(part.ring, partOfWire(opened, part), isServer);
}

/** r, of a client-masked wire, at C or D. */
export function maskOf(
  context: { readonly wires: ReadonlyMap<number, AnyWire> },
  id: number,
): Words {
  const found = wire(context, id) as AnyWire as { form: string; mask?: Words };
  ensure(found.form === "client" && found.mask, "E_INTERNAL", `wire ${id} is not client-masked`);
  return found.mask;
}

/** x^ = x + r, of a client-masked wire, at S. */
export function maskedOf<W extends AnyWire>(
  context: { readonly wires: Map<number, W> },
  id: number,
): Words {
  const found = wire(context, id) as AnyWire as { form: string; masked?: Words };
  ensure(found.form === "client" && found.masked, "E_INTERNAL", `wire ${id} is not client-masked`);
  return found.masked;
}

/** An opened wire at C or S. */
export function openedOf<W extends AnyWire>(
  context: { readonly wires: Map<number, W> },
  id: number,
): OpenedWire {
  const found = wire(context, id) as AnyWire;
  ensure(found.form === "opened", "E_INTERNAL", `wire ${id} is not opened`);
  return found as OpenedWire;
}
