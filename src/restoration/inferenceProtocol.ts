/** Messages between an InferenceDevice and its Worker. Picture buffers are transferred, never copied. */
import type { VireoErrorCode } from '../errors.js';
import type { Manifest, Variant } from './manifest.js';
import type { DeviceOptions, ModelPackage, ProviderName } from './types.js';

export interface WorkerSettings {
  provider: ProviderName;
  threads: number;
  packages: readonly ModelPackage[];
  warmUpSizes: DeviceOptions['warmUpSizes'];
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
  /** One I420 picture each, `variant.T` of both. */
  inputs: ArrayBuffer[];
  outputs: ArrayBuffer[];
}

export type ToWorker = OpenRequest | RunRequest | { type: 'close'; stream: number } | { type: 'exit' };

export interface WorkerFailure {
  code: VireoErrorCode;
  message: string;
}

export interface RunReply {
  inputs: ArrayBuffer[];
  outputs: ArrayBuffer[];
  runMs: number;
}

export type FromWorker =
  | { type: 'ready' }
  | { type: 'failed'; error: WorkerFailure }
  | { type: 'opened'; request: number; error: WorkerFailure | null }
  | { type: 'ran'; request: number; error: WorkerFailure | null; reply: RunReply };

export function variantIndexOf(manifest: Manifest, variant: Variant): number {
  return manifest.variants.findIndex(
    (other) => other.file === variant.file && other.task === variant.task && other.scale === variant.scale,
  );
}
