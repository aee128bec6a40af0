/** Messages between an InferenceDevice and its Worker. Picture and mask buffers are transferred, never copied. */
import type { VireoErrorCode } from '../errors.js';
import type { Manifest, Variant } from './manifest.js';
import type { DeviceOptions, ModelPackage, ProviderName } from './types.js';

export interface WorkerSettings {
  provider: ProviderName;
  threads: number;
  packages: readonly ModelPackage[];
  warmUpSizes: DeviceOptions['warmUpSizes'];
  references: boolean;
}

/** Names one session in the Worker: a variant of a package. */
export interface VariantKey {
  packageName: string;
  variantIndex: number;
}

export interface OpenRequest extends VariantKey {
  type: 'open';
  request: number;
  stream: number;
  width: number;
  height: number;
}

export interface RunRequest {
  type: 'run';
  request: number;
  stream: number;
  /** Start from an all-zero state. */
  reset: boolean;
  /** For variants with such an input; 1 for all others. */
  strength: number;
  /** One I420 picture each, a multiple of `variant.T` of both. */
  inputs: ArrayBuffer[];
  outputs: ArrayBuffer[];
  /** One for each input; null: nothing of it is lost. */
  masks: (ArrayBuffer | null)[];
  /** For each input: whether it is a key frame, or one came since the input before. Null: none is mended. */
  afterKeyFrames: boolean[] | null;
}

export interface ReferenceRequest {
  type: 'reference';
  request: number;
  stream: number;
  /** The stills' luma in the size of the stream's output, transferred; none: no still any more. */
  lumas: ArrayBuffer[];
}

export type ToWorker =
  | OpenRequest
  | RunRequest
  | ReferenceRequest
  | { type: 'close'; stream: number }
  | { type: 'exit' };

export interface WorkerFailure {
  code: VireoErrorCode;
  message: string;
}

export interface RunReply {
  inputs: ArrayBuffer[];
  outputs: ArrayBuffer[];
  masks: (ArrayBuffer | null)[];
  /** Of all runs together. */
  runMs: number;
  /** Of the last picture, the share found in the still; null without one. */
  found: number | null;
}

export type FromWorker =
  | { type: 'ready' }
  | { type: 'failed'; error: WorkerFailure }
  | { type: 'opened' | 'referenced'; request: number; error: WorkerFailure | null }
  | { type: 'ran'; request: number; error: WorkerFailure | null; reply: RunReply };

/** Every buffer that a run takes along and brings back. */
export function buffersOf(run: Pick<RunRequest, 'inputs' | 'outputs' | 'masks'>): ArrayBuffer[] {
  return [...run.inputs, ...run.outputs, ...run.masks.filter((mask) => mask !== null)];
}

export function variantIndexOf(manifest: Manifest, variant: Variant): number {
  return manifest.variants.findIndex(
    (other) => other.file === variant.file && other.task === variant.task && other.scale === variant.scale,
  );
}
