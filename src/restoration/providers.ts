/**
 * Which execution providers this machine can use. Nothing native is tried inside the caller's process: a
 * driver that crashes or hangs takes a short-lived child with it, not the relay.
 */
import { fork } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { InferenceSession } from 'onnxruntime-node';
import { inferenceWorkerEntryUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import type { DeviceOptions, ModelPackage, ProviderName } from './types.js';

/** Order of `auto`. TensorRT builds engines for minutes, so it is only taken when asked for. */
export const AUTO_ORDER: readonly ProviderName[] = ['cuda', 'webgpu', 'cpu'];
const PROBE_TIMEOUT_MS = 60_000;
const TENSORRT_PROBE_TIMEOUT_MS = 600_000;
const SOFTWARE_VULKAN = /swiftshader|lvp|lavapipe|llvmpipe/i;

export interface ProbeRequest {
  provider: ProviderName;
  threads: number;
  model: ModelPackage;
  variantIndex: number;
  width: number;
  height: number;
}

/** Milliseconds of a warm run on the provider and on the CPU, or why the provider cannot run the model. */
export type ProbeReply = { providerMs: number; cpuMs: number } | { error: string };

export interface ProviderChoice {
  provider: ProviderName;
  notes: string[];
  /** Milliseconds a warm run of the model took on it; left out for the CPU, which is not tried. */
  runMs?: number;
}

/** How providers are tried; others in tests. */
export interface ProbeTools {
  missing: typeof missingReason;
  probe: (request: ProbeRequest) => Promise<ProbeReply>;
}

/** `hostNodes`: names of nodes that stay on the processor, where the provider can be told so. */
export function executionProviders(
  provider: ProviderName,
  hostNodes: readonly string[] = [],
): InferenceSession.ExecutionProviderConfig[] {
  switch (provider) {
    case 'cpu':
      return ['cpu'];
    case 'webgpu':
      return [hostNodes.length > 0 ? { name: 'webgpu', forceCpuNodeNames: hostNodes } : 'webgpu', 'cpu'];
    case 'cuda':
      return ['cuda', 'cpu'];
    case 'tensorrt':
      return ['tensorrt', 'cuda', 'cpu'];
  }
}

/** What the providers are tried with: the top of the ladder at the first size to warm up. */
export function trialOf(options: DeviceOptions): Omit<ProbeRequest, 'provider'> | undefined {
  const model = options.packages[0];
  const variant = model?.manifest.variants[0];
  if (model === undefined || variant === undefined) return undefined;
  for (const size of options.warmUpSizes) {
    const variantIndex = model.manifest.variants.findIndex((candidate) => candidate.scale === size.scale);
    if (variantIndex < 0) continue;
    return { threads: options.threads, model, variantIndex, width: size.width, height: size.height };
  }
  return { threads: options.threads, model, variantIndex: 0, width: 320, height: 192 };
}

/**
 * Decides on the provider. `auto` takes the first of AUTO_ORDER that runs the model, and a GPU only when it
 * beats the CPU: software adapters and models that mostly fall back to the CPU are told by their speed.
 * A provider that was asked for by name and does not work is an error.
 */
export async function chooseProvider(
  requested: 'auto' | ProviderName,
  trial: Omit<ProbeRequest, 'provider'>,
  tools: ProbeTools = { missing: missingReason, probe: probeInChild },
): Promise<ProviderChoice> {
  if (requested === 'cpu') return { provider: 'cpu', notes: [] };
  if (requested !== 'auto') {
    const missing = tools.missing(requested, false);
    const reply =
      missing === null ? await tools.probe({ ...trial, provider: requested }) : { error: missing };
    if (!('error' in reply)) return { provider: requested, notes: [], runMs: reply.providerMs };
    throw new VireoError(
      'unavailable',
      `provider ${requested} (--provider) cannot be used here: ${reply.error}`,
    );
  }
  const notes: string[] = [];
  for (const provider of AUTO_ORDER) {
    if (provider === 'cpu') break;
    const missing = tools.missing(provider, true);
    if (missing !== null) {
      notes.push(`${provider}: ${missing}`);
      continue;
    }
    const reply = await tools.probe({ ...trial, provider });
    if (!('error' in reply) && reply.providerMs < reply.cpuMs) {
      return { provider, notes, runMs: reply.providerMs };
    }
    notes.push(`${provider}: ${'error' in reply ? reply.error : slowerThanCpu(reply)}`);
  }
  return { provider: 'cpu', notes };
}

function slowerThanCpu(reply: { providerMs: number; cpuMs: number }): string {
  return `a block takes ${reply.providerMs.toFixed(1)} ms, on the CPU ${reply.cpuMs.toFixed(1)} ms (a software adapter, or a model it does not speed up)`;
}

/** A quick look without loading anything: null when the provider is worth a trial. */
export function missingReason(provider: ProviderName, auto: boolean): string | null {
  if (provider === 'cpu') return null;
  if (provider === 'webgpu') return auto ? missingWebGpu() : null;
  if (process.platform !== 'linux' || process.arch !== 'x64') return `needs Linux on x64`;
  const library = join(onnxruntimeDirectory(), `libonnxruntime_providers_${provider}.so`);
  if (!existsSync(library)) {
    return `${library} is not installed (npm rebuild onnxruntime-node --ignore-scripts=false --onnxruntime-node-install=cuda12)`;
  }
  return existsSync('/proc/driver/nvidia') || existsSync('/dev/nvidiactl') || existsSync('/dev/dxg')
    ? null
    : 'no NVIDIA driver is loaded';
}

function missingWebGpu(): string | null {
  const icd = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  if (icd !== undefined && SOFTWARE_VULKAN.test(icd)) return `only the software adapter of ${icd} is there`;
  if (process.platform !== 'linux' || icd !== undefined) return null;
  const nodes = existsSync('/dev/dri') ? readdirSync('/dev/dri') : [];
  const hasDevice =
    nodes.some((node) => node.startsWith('renderD')) ||
    existsSync('/dev/nvidiactl') ||
    existsSync('/dev/dxg');
  return hasDevice ? null : 'no GPU device (/dev/dri/renderD*, /dev/nvidiactl) is there';
}

function onnxruntimeDirectory(): string {
  const main = createRequire(import.meta.url).resolve('onnxruntime-node');
  return join(dirname(main), '..', 'bin', 'napi-v6', process.platform, process.arch);
}

/** Creates a session and runs it a few times in a child process of its own, killed when it takes too long. */
export async function probeInChild(request: ProbeRequest): Promise<ProbeReply> {
  const entry = fileURLToPath(new URL('./providerProbe.js', inferenceWorkerEntryUrl));
  const timeoutMs = request.provider === 'tensorrt' ? TENSORRT_PROBE_TIMEOUT_MS : PROBE_TIMEOUT_MS;
  const child = fork(entry, [], {
    serialization: 'advanced',
    execArgv: [],
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  });
  return await new Promise<ProbeReply>((resolve) => {
    const timer = setTimeout(
      () => done({ error: `gave no answer within ${timeoutMs / 1_000} s` }),
      timeoutMs,
    );
    const done = (reply: ProbeReply) => {
      clearTimeout(timer);
      child.removeAllListeners();
      child.on('error', () => undefined);
      child.kill('SIGKILL');
      resolve(reply);
    };
    child.once('message', (message) => done(message as ProbeReply));
    child.once('error', (error) => done({ error: error.message }));
    child.once('exit', (code, signal) =>
      done({ error: `its driver crashed (${signal ?? `exit code ${code}`})` }),
    );
    child.send(request, (error) => {
      if (error !== null) done({ error: error.message });
    });
  });
}
