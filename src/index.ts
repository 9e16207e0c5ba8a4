// The public interface for Node. Browser code imports ./client.ts instead.

export { type ErrorCode, ensure, errorCodes, MergenError } from "./errors.ts";
export type { MatchScore } from "./evaluate/bert-score.ts";
export { type CorpusScore, type ItemScore, scoreItems, scoreOutputs } from "./evaluate/corpus.ts";
export {
  type Example,
  loadExamples,
  loadOutputs,
  type Numbered,
  numberedExamples,
  type Output,
  type ReadOptions,
  readExamples,
} from "./evaluate/data.ts";
export {
  type EvaluateOptions,
  type EvaluationReport,
  evaluate,
  type ItemReport,
  needsInputs,
} from "./evaluate/report.ts";
export {
  type SlotReport,
  type SlotTask,
  type SlotTotals,
  slotTasks,
} from "./evaluate/slot-error.ts";
export { createSampler, type SampleOptions } from "./generate/sample.ts";
export { loadCrc32c } from "./kernel/crc-load.ts";
export type { FloatKernels } from "./kernel/float-kernels.ts";
export { loadFloatKernels } from "./kernel/float-load.ts";
export { keyLayout } from "./kernel/function-key.ts";
export { describeKernels, type KernelReport, loadRingKernels } from "./kernel/load-node.ts";
export type { RingKernels } from "./kernel/ring-kernels.ts";
export { testCrc32c, testFloatKernels, testRingKernels } from "./kernel/self-test.ts";
export {
  checkModelFolder,
  loadConfig,
  loadModel,
  loadTokenizer,
  type Model,
  saveModel,
} from "./model/checkpoint.ts";
export { type ModelConfig, promptPositions } from "./model/config.ts";
export { type ImportOptions, importHuggingFace, importLlama2c } from "./model/import.ts";
export { modelWithRecipe, withRecipe } from "./model/preset.ts";
export { encodePrompt, promptText } from "./model/prompt.ts";
export { type ShapeOptions, shapeConfig, shapeNames } from "./model/shapes.ts";
export { Client, type ClientOptions, type GenerateOptions } from "./party/client.ts";
export type { RunOptions, SegmentProgress } from "./party/client-run.ts";
export { Dealer, type DealerOptions } from "./party/dealer.ts";
export { type DecodeFloatOptions, decodeFloat, type FloatTiming } from "./party/decode-float.ts";
export { fileStore } from "./party/file-store.ts";
export {
  fixedBench,
  floatBench,
  insecureSecureBench,
  type LocalBench,
  type LocalOptions,
} from "./party/local.ts";
export { type LogitError, logitError } from "./party/logit-error.ts";
export {
  type AskedOptions,
  type GenerationOptions,
  generationOptions,
  type Plan,
  planGeneration,
} from "./party/plan.ts";
export { type Prediction, predict } from "./party/predict.ts";
export {
  computedPart,
  type PartBytes,
  type PartPrediction,
  predictParts,
  type SegmentCost,
  type Task,
  taskOf,
} from "./party/predict-parts.ts";
export type { Preparer, PreparerSetup, StartPreparer } from "./party/preparer.ts";
export { threadPreparer } from "./party/preparer-node.ts";
export type { Generation, Mode } from "./party/report.ts";
export { type ServableOptions, servable } from "./party/servable.ts";
export { Server, type ServerOptions } from "./party/server.ts";
export { type BundleStore, memoryStore } from "./party/store.ts";
export { type Part, parts, partsOf } from "./plan/parts.ts";
export { isMerged, type PresetName, presetNames } from "./recipe/presets.ts";
export type { GateWatch } from "./run/party.ts";
export { parseTrainConfig } from "./train/config.ts";
export { type RandomModelOptions, randomModel } from "./train/random-model.ts";
export { runStage } from "./train/stages.ts";
export {
  loadQualityResult,
  QUALITY_FORMAT,
  type QualityMetrics,
  type QualityResult,
} from "./train/study-result.ts";
export type { StudyConfig } from "./train/study-stages.ts";
export { svgOf } from "./train/svg.ts";
export { Channel, type ChannelOptions, type Draft } from "./wire/channel.ts";
export { type Crc32c, crc32c } from "./wire/crc32c.ts";
export { type LinkOptions, networks } from "./wire/link.ts";
export { type Relay, type RelayOptions, startRelay } from "./wire/relay.ts";
export type { Transport } from "./wire/transport.ts";
export { connectWebSocket, listenWebSocket, type WebSocketListener } from "./wire/websocket.ts";
