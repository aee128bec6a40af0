/**
 * Where the compiled entry files of processes and Workers are.
 *
 * `src/` and `dist/` are siblings, so the same relative path is right from the compiled file and from
 * the TypeScript source that a test runner loads; processes and Workers always run compiled code.
 */
export const restorerEntryUrl = new URL('../dist/restorer/child.js', import.meta.url);
export const inferenceWorkerEntryUrl = new URL('../dist/restoration/inferenceWorker.js', import.meta.url);
export const warpWorkerEntryUrl = new URL('../dist/evaluation/warpWorker.js', import.meta.url);
export const warpModelUrl = new URL('../models/metrics/warp-error.onnx', import.meta.url);
/** Keeps calls from pulsing at key frames, where pictures are enlarged by so much. */
export const mendingModelUrl = (scale: 2 | 4): URL =>
  new URL(`../models/mending/x${scale}.onnx`, import.meta.url);
export const packageRootUrl = new URL('../', import.meta.url);
export const bundledModelsUrl = new URL('../models/', import.meta.url);
export const webClientDistUrl = new URL('../web-client/dist/', import.meta.url);
