/** Entry of the Worker that owns the ONNX sessions of one device and the state of every stream on it. */
import { parentPort, workerData } from 'node:worker_threads';
import { VireoError } from '../errors.js';
import {
  buffersOf,
  type FromWorker,
  type OpenRequest,
  type ReferenceRequest,
  type RunRequest,
  type ToWorker,
  type VariantKey,
  type WorkerFailure,
  type WorkerSettings,
} from './inferenceProtocol.js';
import { type CarriedState, ModelSession, type ReferenceTables, type RunResult } from './ModelSession.js';
import { type Pulse, PulseMender } from './PulseMender.js';

const sessions = new Map<string, ModelSession>();
/** By how much pictures are enlarged. */
const menders = new Map<number, PulseMender>();

interface Stream {
  session: ModelSession;
  state: CarriedState;
  reference: ReferenceTables | null;
  /** Null: pictures of full size, whose key frames have what they need, or of one that cannot be mended. */
  mending: { mender: PulseMender; pulse: Pulse } | null;
}

const streams = new Map<number, Stream>();

function keyOf({ packageName, variantIndex }: VariantKey): string {
  return `${packageName}#${variantIndex}`;
}

async function load(settings: WorkerSettings): Promise<void> {
  for (const scale of [2, 4] as const) menders.set(scale, await PulseMender.create(scale, settings.threads));
  for (const model of settings.packages) {
    for (const [variantIndex, variant] of model.manifest.variants.entries()) {
      const session = await ModelSession.create(model, variantIndex, settings);
      sessions.set(keyOf({ packageName: model.manifest.name, variantIndex }), session);
      for (const size of settings.warmUpSizes) {
        if (size.scale === variant.scale) await session.warmUp(size.width, size.height);
      }
    }
  }
}

async function open(message: OpenRequest): Promise<void> {
  const session = sessions.get(keyOf(message));
  if (session === undefined) {
    throw new VireoError('not-found', `model "${message.packageName}" is not loaded on this device`);
  }
  const state = session.createState(message.width, message.height);
  await session.warmUp(message.width, message.height);
  const mender = menders.get(session.variant.scale);
  const pulse = mender?.begin(message.width, message.height) ?? null;
  const mending = mender && pulse ? { mender, pulse } : null;
  streams.set(message.stream, { session, state, reference: null, mending });
}

function streamOf({ stream: id }: { stream: number }): Stream {
  const stream = streams.get(id);
  if (stream === undefined) throw new VireoError('not-found', 'the stream is closed');
  return stream;
}

/** What was remembered before goes only when the new stills' tables are made. */
async function refer(message: ReferenceRequest): Promise<void> {
  const stream = streamOf(message);
  const { session, state } = stream;
  stream.reference = await session.createReference(state, message.lumas);
}

/** T pictures after T pictures, each run with the state that the one before it left. */
async function run(message: RunRequest): Promise<RunResult> {
  const { session, state, reference, mending } = streamOf(message);
  const { inputs, outputs, masks, strength, afterKeyFrames } = message;
  if (message.reset) {
    session.reset(state);
    mending?.mender.forget(mending.pulse);
  }
  const total: RunResult = { runMs: 0, found: null };
  if (mending !== null && afterKeyFrames !== null) {
    for (const [at, input] of inputs.entries()) {
      total.runMs += await mending.mender.mend(mending.pulse, input, afterKeyFrames[at] === true);
    }
  }
  for (let from = 0; from < inputs.length; ) {
    const to = from + session.variant.T;
    const how = { strength, masks: masks.slice(from, to), reference };
    const result = await session.run(state, inputs.slice(from, to), outputs.slice(from, to), how);
    total.runMs += result.runMs;
    total.found = result.found;
    from = to;
  }
  return total;
}

function failure(thrown: unknown): WorkerFailure {
  const { code, message } = VireoError.from(thrown);
  return { code, message };
}

async function attempt(action: () => Promise<void>): Promise<WorkerFailure | null> {
  try {
    await action();
    return null;
  } catch (thrown) {
    return failure(thrown);
  }
}

const port = parentPort;
if (port === null) throw new Error('inferenceWorker runs in a worker_threads Worker only');
const reply = (message: FromWorker, transfer: readonly ArrayBuffer[] = []) =>
  port.postMessage(message, transfer);

async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'open': {
      const error = await attempt(() => open(message));
      reply({ type: 'opened', request: message.request, error });
      return;
    }
    case 'run': {
      const { request, inputs, outputs, masks } = message;
      let result: RunResult = { runMs: 0, found: null };
      const error = await attempt(async () => {
        result = await run(message);
      });
      reply(
        { type: 'ran', request, error, reply: { inputs, outputs, masks, ...result } },
        buffersOf(message),
      );
      return;
    }
    case 'reference': {
      const error = await attempt(() => refer(message));
      reply({ type: 'referenced', request: message.request, error });
      return;
    }
    case 'close':
      streams.delete(message.stream);
      return;
    case 'exit':
      streams.clear();
      for (const session of sessions.values()) await session.release();
      sessions.clear();
      for (const mender of menders.values()) await mender.release();
      menders.clear();
      port?.close();
  }
}

// One message at a time, in the order they came.
let last = load(workerData as WorkerSettings).then(
  () => reply({ type: 'ready' }),
  (thrown: unknown) => reply({ type: 'failed', error: failure(thrown) }),
);
port.on('message', (message: ToWorker) => {
  last = last.then(() => handle(message));
});
