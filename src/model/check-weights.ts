// Whether tensors are those of a model: nothing missing, nothing more, no value that is no number.

import { MergenError } from "../errors.ts";
import type { Weights } from "./safetensors.ts";

/**
 * Checks that tensors are those of a model, by name and shape, and finite.
 * @throws E_MODEL naming the tensor that is missing, too many, of another shape or not finite
 */
export function checkWeights(
  weights: Weights,
  shapes: ReadonlyMap<string, readonly number[]>,
  origin = "model.safetensors",
): void {
  const fail = (name: string, message: string) => {
    throw new MergenError("E_MODEL", `${origin}: tensor ${JSON.stringify(name)}: ${message}`);
  };
  for (const [name, shape] of shapes) {
    const tensor = weights.get(name);
    if (tensor === undefined) fail(name, "is missing; take the weights that belong to config.json");
    else if (String(tensor.shape) !== String(shape)) {
      fail(name, `has shape [${tensor.shape}], config.json asks for [${shape}]`);
    } else if (!allFinite(tensor.data)) fail(name, "holds a value that is not finite");
  }
  for (const name of weights.keys()) {
    if (!shapes.has(name)) fail(name, "is unknown to a model of this config.json; remove it");
  }
}

/** An exponent of all ones (not a number, infinite) and one more carries into the sign bit. */
function allFinite(data: Float32Array): boolean {
  const words = new Int32Array(data.buffer, data.byteOffset, data.length);
  let carried = 0;
  for (let i = 0; i < words.length; i++) carried |= (words[i] & 0x7f800000) + 0x00800000;
  return carried >= 0;
}
