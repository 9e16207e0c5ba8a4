// The methods that MERGE (Liang et al., AAAI 2024) is compared with, as settings of the parts of a
// block. Each computes its system's functions on this repository's protocol; what the system's own
// protocol does otherwise stands beside it.

import { ensure, MergenError } from "../errors.ts";
import { siluPieces } from "./approximations.ts";
import type { ActivationSetting, AttentionSetting, RecipeSettings } from "./recipe.ts";

/** What of a model's public config a preset reads or changes. */
export interface PresetTarget extends RecipeSettings {
  readonly recipe: string;
  readonly layerCount: number;
  readonly nextToken: "lookup" | "resend";
  readonly embeddingScale?: number | undefined;
  readonly generation: {
    readonly maxTokens: number;
    readonly chunk: number;
    readonly anchor: number;
  };
  readonly wireBounds?: readonly unknown[] | undefined;
  readonly logitBound?: unknown;
  readonly ranges?: unknown;
  readonly operandBits?: unknown;
}

interface Preset {
  readonly attention: AttentionSetting | "constant";
  /** backbone: the model's own, as its authors published it. */
  readonly activation: ActivationSetting | "backbone" | "mixed";
  readonly norm: "backbone" | "affine";
  readonly nextToken: "lookup" | "resend";
}

const quad = { kind: "quad", coefficients: [0.125, 0.25, 0.5] } as const;
const ordinary = { activation: "backbone", norm: "backbone", nextToken: "lookup" } as const;

const presets = {
  /** Radford et al. 2019; what CrypTen runs, with softmax and its GELU by its own iterations. */
  vanilla: { ...ordinary, attention: "softmax" },
  /**
   * Li et al., ICLR 2023 (arXiv 2211.01452), on CrypTen with a provider of triples. Its paper has
   * this quad; the code that it was timed with has 0.125 x^2 + 0.5 x + 0.25 and a batch norm.
   */
  "mpcformer-2relu": { ...ordinary, attention: { kind: "2relu", eps: 1e-3 }, activation: quad },
  /** The same with (x + 5)^2 in the place of exp. */
  "mpcformer-2quad": { ...ordinary, attention: { kind: "2quad", shift: 5 }, activation: quad },
  /**
   * Chen et al., Findings of ACL 2022: CKKS ciphertexts at the server, and ReLU at the client,
   * which sees its inputs. Its norm is x scale + shift, distilled.
   */
  "the-x": {
    ...ordinary,
    attention: { kind: "the-x" },
    activation: { kind: "relu" },
    norm: "affine",
  },
  /**
   * Hao et al., NeurIPS 2022: the vanilla functions; its own protocol has products by homomorphic
   * encryption and exp, tanh and the square root from tables by oblivious transfer.
   */
  iron: { ...ordinary, attention: "softmax" },
  /** Dong et al. 2023 (arXiv 2307.12533): three parties, replicated sharing on 64 bits (SPU). */
  puma: {
    ...ordinary,
    attention: { kind: "softmax", exp: "puma" },
    activation: { kind: "piecewise", name: "puma" },
  },
  /** Ding et al. 2023 (arXiv 2308.09923): oblivious transfer picks parts of polynomials. */
  east: {
    ...ordinary,
    attention: { kind: "softmax", exp: "east" },
    activation: { kind: "piecewise", name: "east" },
  },
  /**
   * Pang et al., IEEE S&P 2024, and BumbleBee (NDSS 2025): two parties, products by homomorphic
   * encryption, comparisons by oblivious transfer. BOLT also drops tokens; this does not.
   */
  bolt: {
    ...ordinary,
    attention: { kind: "softmax", exp: "bolt" },
    activation: { kind: "piecewise", name: "bolt" },
  },
  /** Zimerman et al. 2024 (arXiv 2410.09457), on CKKS; the exponent and the quad are our choice. */
  "power-softmax": {
    ...ordinary,
    attention: { kind: "power", exponent: 4, eps: 1e-6 },
    activation: quad,
  },
  /**
   * Mishra et al., USENIX Security 2020: a search picks each layer's activation, and ReLU goes by
   * garbled circuits. Without a search here: quad in the first half of the layers, then ReLU.
   */
  delphi: { ...ordinary, attention: "softmax", activation: "mixed" },
  /** Liang et al., AAAI 2024 (arXiv 2305.15769), on CrypTen: merged module, re-sent states. */
  merge: { attention: "constant", activation: quad, norm: "backbone", nextToken: "resend" },
  /** Its embedding resending alone: the transformer goes on from its own last states. */
  "merge-er": { ...ordinary, attention: "softmax", nextToken: "resend" },
  /** Its merged module alone: every token is looked up. */
  "merge-mm": { attention: "constant", activation: quad, norm: "backbone", nextToken: "lookup" },
} satisfies Record<string, Preset>;

export type PresetName = keyof typeof presets;

export const presetNames = Object.keys(presets) as readonly PresetName[];

/** @throws E_CONFIG when there is no such preset, with those that there are */
export function presetNamed(name: string): PresetName {
  if (Object.hasOwn(presets, name)) return name as PresetName;
  const message = `there is no recipe ${name}; take one of ${presetNames.join(", ")}`;
  throw new MergenError("E_CONFIG", message);
}

/** Whether the preset's blocks are merged ones, which have weights of their own. */
export function isMerged(name: PresetName): boolean {
  return presets[name].attention === "constant";
}

/**
 * A model's config with the parts that the preset names, for the same weights: accuracy holds only
 * once the model was adapted. What was measured or proven of the old parts is left out.
 * @throws E_CONFIG when there is no such preset, or the weights are none of its kind of module
 */
export function applyPreset<C extends PresetTarget>(config: C, name: string): C {
  const preset = presetNamed(name);
  if (isMerged(preset) !== (config.attention === "constant")) {
    const [is, needs] = isMerged(preset)
      ? ["an ordinary decoder", "a merged module's"]
      : ["a merged module", "an ordinary decoder's"];
    const remedy = `adapt a model to it (mergen adapt --recipe ${name})`;
    throw new MergenError(
      "E_CONFIG",
      `the model is ${is}, ${name} needs ${needs} weights: ${remedy}`,
    );
  }
  return retrained(config, preset);
}

/**
 * The config of a student of a model: as applyPreset, but into any kind of module.
 * @throws E_CONFIG when the model is a merged module and the preset needs an ordinary decoder
 */
export function studentPreset<C extends PresetTarget>(config: C, name: string): C {
  const preset = presetNamed(name);
  if (isMerged(preset) && config.attention !== "constant") return retrained(merged(config), preset);
  return applyPreset(config, name);
}

/** The parts of a merged block around which its weights are trained from the beginning. */
function merged<C extends PresetTarget>(config: C): C {
  // What only blocks with queries, keys and values have.
  const { block, kvHeadCount, rope, scaledQuery, ...rest } = config as C & Record<string, unknown>;
  return {
    ...rest,
    attention: "constant",
    norm: { kind: "layernorm", eps: 1e-5, scale: false },
    residual: true,
    // Embeddings of deviation 1/16 become inputs as wide as a re-sent state.
    embeddingScale: 16,
  } as unknown as C;
}

function retrained<C extends PresetTarget>(config: C, name: PresetName): C {
  const preset: Preset = presets[name];
  const { wireBounds, logitBound, ranges, operandBits, ...rest } = config;
  const parts = {
    attention:
      isExact(preset.attention) && isExact(config.attention) ? config.attention : preset.attention,
    activation: activationOf(preset, config),
    norm: normOf(preset, config, isMerged(name)),
  };
  const old = { attention: config.attention, activation: config.activation, norm: config.norm };
  const { nextToken } = preset;
  // A merged module's bounds are of states that are sent again, too.
  const sent = nextToken === "resend" && config.nextToken === "lookup" && !isMerged(name);
  const same = JSON.stringify(parts) === JSON.stringify(old) && !sent;
  const kept = same ? { wireBounds, logitBound, ranges, operandBits } : {};
  const anchor = nextToken === "lookup" ? 1 : 0;
  const generation =
    nextToken === config.nextToken ? config.generation : { ...config.generation, anchor };
  const bounds = Object.fromEntries(
    Object.entries(kept).filter(([, value]) => value !== undefined),
  );
  return { ...rest, ...bounds, ...parts, recipe: name, nextToken, generation } as unknown as C;
}

/** "softmax" and its long form are the same. */
function isExact(attention: PresetTarget["attention"]): boolean {
  return typeof attention === "object"
    ? attention.kind === "softmax" && attention.exp === "exact"
    : attention === "softmax";
}

function activationOf({ activation }: Preset, config: PresetTarget): ActivationSetting {
  const own = config.activation;
  switch (activation) {
    case "backbone": {
      const isSilu = own.kind === "piecewise" && own.of === "silu";
      ensure(!isSilu, "E_CONFIG", "take the model whose SiLU this one has an approximation of");
      const replaced = ["quad", "piecewise", "mixed"].includes(own.kind);
      return replaced ? { kind: "gelu", form: "tanh" } : own;
    }
    case "mixed": {
      const layers = Array.from({ length: config.layerCount }, (_, layer) =>
        2 * layer < config.layerCount ? ("quad" as const) : ("relu" as const),
      );
      return own.kind === "mixed"
        ? own
        : { kind: "mixed", layers, coefficients: quad.coefficients };
    }
    default:
      if (activation.kind === "quad" && own.kind === "quad") return own;
      return activation.kind === "piecewise" ? approximationOf(activation, own) : activation;
  }
}

/** A system's approximation of what the model has, GELU or SiLU. */
function approximationOf(
  activation: ActivationSetting & { kind: "piecewise" },
  own: { readonly kind: string; readonly of?: string | undefined },
): ActivationSetting {
  if (own.kind !== "silu" && own.of !== "silu") return activation;
  const { name } = activation;
  ensure(siluPieces[name], "E_CONFIG", `${name} has no approximation of the model's SiLU`);
  return { ...activation, of: "silu" };
}

function normOf({ norm }: Preset, config: PresetTarget, isMerged: boolean): PresetTarget["norm"] {
  const own = config.norm;
  if (norm === "affine")
    // Without a scale and a shift they are in the layers that read the norm.
    return own.kind === "affine"
      ? own
      : { kind: "affine", eps: 0, scale: own.scale && own.kind !== "rmsnorm" };
  const replaced = !isMerged && (own.kind === "affine" || own.kind === "batchnorm");
  return replaced ? { kind: "layernorm", eps: 1e-5, scale: own.scale } : own;
}
