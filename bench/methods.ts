// docs/methods.md: which recipe runs in which mode, how far ring arithmetic is from float32, and
// what a token costs; and what the choices behind nonlinear gates cost in keys. All of it follows
// from plans and cost formulas, but for the errors, which are measured on tiny random models.

import {
  generationOptions,
  isMerged,
  keyLayout,
  loadFloatKernels,
  loadRingKernels,
  logitError,
  type ModelConfig,
  type PresetName,
  planGeneration,
  predict,
  presetNames,
  randomModel,
  servable,
  shapeConfig,
} from "../src/index.ts";

const POSITIONS = 128;
const SEEDS = [1, 2, 3];

/** docs/methods.md. Cost: a few seconds. */
export async function methodsPage(): Promise<string> {
  return [
    ...introduction,
    "",
    ...(await supportTable()),
    "",
    ...notes,
    "",
    "## What choices cost",
    "",
    "Bytes of one party's key for one word, by `src/kernel/function-key.ts`. A table's key depends",
    "on its degree and on the bits of its argument without those of a block",
    "(`docs/decisions/0022-coarse-tables.md`), not on the number of its pieces.",
    "",
    ...keyTable(),
    "",
    ...choiceTable(),
    "",
  ].join("\n");
}

const introduction = [
  "# Methods",
  "",
  "Made by `npm run methods` (`bench/methods.ts`); a test checks that this page is what it makes.",
  "",
  "Each recipe names the functions that a system's authors compute, on this repository's protocol.",
  "`float`, `fixed` and `secure` run for every one of them; `secure` gives the words of `fixed`.",
  "",
  "- error: greatest |fixed - float| over all logits (which reach about 10) of tiny models with",
  `  random weights, over ${SEEDS.length} of them, rounded up to 1, 2 or 5`,
  "- bounds: proven from the weights, or calibrated ones with a factor of 4, where overflow is",
  "  possible and silent (`calibratedBounds` in `config.json`)",
  `- costs: of the token at position ${POSITIONS} of a model of GPT-2's shape, by the plan's cost`,
  "  formulas, for assumed ranges (`assumed` in `bench/methods.ts`); a model's own ranges move",
  "  them by some percent",
  "- lookup, client, resend: what makes a step's input by default; here the client looks up",
];

const notes = [
  "A llama block (gated activation, RMSNorm, rotary positions) takes the same attention weights",
  "and activations; an affine norm needs biases to fold its shift into, which such a block lacks.",
  "",
  "- 2quad, 2relu, power: the sum of a row's weights is divided by once, after the weighted sum of",
  "  values. Its inverse is a table of degree 1: right to an operand's bits where sums were seen,",
  "  to 2^-10 (power: 2^-9) some octaves below, and a staircase from below beyond. A sum below all",
  "  that counts as the least one: its weights then add up to less than 1.",
  "- 2relu: a row whose scores are all near 0 is divided by eps, and their rounding with it.",
  "- power: of exponent 2, 4 or 8. Proven ranges of sums are wide, and leave scores few bits: rows",
  "  of small scores lose their weights. With calibrated bounds the error is below 3e-2.",
  "- the-x: nothing normalises, so proven bounds soon fit no ring: such a model is planned with",
  "  calibrated bounds where they do not. Its net T has server weights and runs as linear layers.",
  "- puma, east, bolt: tables follow the published pieces, clips and steps included, by pieces of",
  "  degree 2. Their error is against the approximation, not against GELU or exp.",
  "- merge-er: the last norm's scale and shift become a layer that a re-sent state passes.",
];

interface Numbers {
  readonly proven: number;
  readonly calibrated: [number, number];
}

/** A config with ranges as trained models have them. */
function assumed(config: ModelConfig): ModelConfig {
  const logitBound = { proven: 128, calibrated: 32 };
  const weightFracBits = new Proxy<Record<string, number>>({}, { get: () => 12 });
  if (config.attention === "constant") {
    const u = { proven: 64, calibrated: 8 };
    const o = { proven: 256, calibrated: 32 };
    const variance = { proven: 256, calibrated: [0.1, 16] as [number, number] };
    const wireBounds = Array.from({ length: config.layerCount }, () => ({ u, o, variance }));
    return { ...config, logitBound, weightFracBits, wireBounds };
  }
  const ranges: Record<string, Numbers> = { norm: { proven: 4096, calibrated: [0.1, 100] } };
  const score = { proven: 256, calibrated: [1e-9, 32] as [number, number] };
  const wide = (power: number): Numbers => ({
    proven: config.positionCount * (score.proven + 5) ** power,
    calibrated: [1, 100 * config.positionCount],
  });
  for (let layer = 0; layer < config.layerCount; layer++) {
    const name = `layers.${layer}`;
    for (const norm of ["attention.norm", "norm"])
      ranges[`${name}.${norm}`] = { proven: 4096, calibrated: [0.1, 100] };
    for (const part of ["attention.query", "attention.key", "attention.value", "u"]) {
      ranges[`${name}.${part}`] = { proven: 64, calibrated: [1e-9, 16] };
    }
    ranges[`${name}.attention.score`] = score;
    const { attention } = config;
    if (typeof attention === "object" && attention.kind !== "softmax") {
      const power = { "2quad": 2, "2relu": 1, power: 4, "the-x": 3 }[attention.kind];
      ranges[`${name}.attention.sum`] = wide(power);
      ranges[`${name}.attention.cubes`] = wide(3);
      for (const part of [0, 1, 2]) {
        const proven = [4096, 4096, 4][part]!;
        ranges[`${name}.attention.reciprocal.${part}`] = { proven, calibrated: [1e-9, proven] };
      }
    }
    if (config.norm.kind === "affine") {
      for (const stream of ["attention.stream", "stream"]) {
        ranges[`${name}.${stream}`] = { proven: 1024, calibrated: [1e-9, 64] };
      }
    }
  }
  const unbounded = config.norm.kind === "affine" && { calibratedBounds: true };
  return { ...config, ...unbounded, logitBound, weightFracBits, ranges };
}

/** The config as `servable` leaves it, but for its weights. */
function folded(config: ModelConfig): ModelConfig {
  if (config.attention === "constant") return config;
  const kind = config.norm.kind === "affine" ? "affine" : "rmsnorm";
  return { ...config, norm: { ...config.norm, kind, scale: false } };
}

/** Online and offline bytes and round trips of one more token. */
async function tokenCost(recipe: PresetName) {
  const shape = shapeConfig({ shape: "gpt2", recipe, positions: POSITIONS });
  const config = assumed(folded({ ...shape, generation: { ...shape.generation, chunk: 1 } }));
  const cost = async (maxTokens: number) => {
    const anchor = config.nextToken === "resend" ? 0 : 1;
    const options = generationOptions(config, 1, { maxTokens, chunk: 1, anchor });
    const { online, offline } = predict(await planGeneration(config, options));
    return {
      trips: online.roundTrips,
      online: online.clientSentBytes + online.serverSentBytes,
      offline:
        offline.dealerToServerBytes + offline.dealerToClientBytes + offline.clientToServerBytes,
    };
  };
  const [one, two] = [await cost(POSITIONS - 1), await cost(POSITIONS)];
  return {
    trips: two.trips - one.trips,
    online: two.online - one.online,
    offline: two.offline - one.offline,
    bounds: config.calibratedBounds ? "calibrated" : "proven",
  };
}

async function supportTable(): Promise<string[]> {
  const kernels = { ring: await loadRingKernels(), float: await loadFloatKernels() };
  const rows = [
    "| recipe | module | float | fixed, secure | error | bounds | next | trips | online |" +
      " offline |",
  ];
  rows.push("|---|---|---|---|---|---|---|---|---|---|");
  for (const recipe of presetNames) {
    let greatest = 0;
    for (const seed of SEEDS) {
      const made = randomModel({ shape: "tiny", positions: 32, recipe, seed }, kernels.float);
      const model = servable(made, kernels.float, { calibratedBounds: true });
      const asked = { prompt: [5, 9, 200, 31, 7, 99], maxTokens: 6 };
      greatest = Math.max(greatest, (await logitError(model, kernels, asked)).greatest);
    }
    const { trips, online, offline, bounds } = await tokenCost(recipe);
    const module = isMerged(recipe) ? "merged" : "decoder";
    const next = recipe === "merge" || recipe === "merge-er" ? "resend" : "lookup";
    const costs = [String(trips), kilobytes(online), megabytes(offline)];
    const cells = [recipe, module, "yes", "yes", stated(greatest), bounds, next, ...costs];
    rows.push(`| ${cells.join(" | ")} |`);
  }
  return rows;
}

const kilobytes = (count: number) => `${(count / 1e3).toFixed(0)} kB`;
const megabytes = (count: number) => `${(count / 1e6).toFixed(1)} MB`;

/** The next of 1, 2 and 5 times a power of ten: errors differ by kernels in their last digits. */
function stated(error: number): string {
  const power = 10 ** Math.floor(Math.log10(error));
  const digit = [1, 2, 5, 10].find((candidate) => candidate * power >= error)!;
  return (digit * power).toExponential(0);
}

function keyTable(): string[] {
  const bytes = (bits: number, degree: number) =>
    String(keyLayout("dcf", bits, degree + 1).keyBytes);
  const rows = ["| bits of the key | degree 1 | degree 2 | degree 3 |", "|---|---|---|---|"];
  for (const bits of [9, 12, 16, 20, 24, 32, 48]) {
    rows.push(`| ${[bits, bytes(bits, 1), bytes(bits, 2), bytes(bits, 3)].join(" | ")} |`);
  }
  return rows;
}

function choiceTable(): string[] {
  const dcf = (bits: number, words: number) => keyLayout("dcf", bits, words).keyBytes;
  const dpf = (bits: number) => keyLayout("dpf", bits, 1).keyBytes;
  const [argument, score, visible] = [18, 20, POSITIONS];
  const [coarseGelu, coarseExp] = [argument - 8, score - 7];
  const rows: [string, number, string][] = [
    [
      `GELU of a word of ${argument} bits, blocks of 2^8, degree 3`,
      dcf(coarseGelu, 4),
      "what is used; 18 pieces, which share most of a walk",
    ],
    ["the same without blocks", dcf(argument, 4), "9 pieces, a walk of 18 levels for each"],
    ["the same, degree 2", dcf(argument, 3), "13 pieces"],
    ["the same, degree 1", dcf(argument, 2), "26 pieces"],
    ["a look-up of the same bits by DPF", dpf(argument), "2^18 steps of the generator a word"],
    [
      `softmax of a row of ${visible}: maximum and exp`,
      (visible - 1) * dcf(score, 1) + visible * dcf(coarseExp, 3),
      "a tournament, then a table with blocks of 2^7",
    ],
    [
      "the same, exp without blocks",
      (visible - 1) * dcf(score, 1) + visible * dcf(score, 3),
      "each bit of a key costs as much",
    ],
    ["2relu of the row", visible * dcf(score, 2), "one table, exact: no blocks"],
    ["2quad of the row", 0, "squares are local; dealt shares of masks alone"],
    ["the inverse of a sum, degree 1", dcf(38, 2), "one a row and head"],
    ["the same, degree 2", dcf(38, 3), "a third of the pieces"],
  ];
  return [
    "| choice | key bytes, a party | beside it |",
    "|---|---|---|",
    ...rows.map((cells) => `| ${cells.join(" | ")} |`),
  ];
}
