/** Entry of the Worker that measures flicker and motion: `session.run()` blocks its thread. */
import { parentPort, workerData } from 'node:worker_threads';
import { InferenceSession, Tensor } from 'onnxruntime-node';

/** Luma of two successive frames of the reference and of each method, w * h bytes each. */
export interface WarpRequest {
  id: number;
  width: number;
  height: number;
  reference: [Uint8Array, Uint8Array];
  /** All methods' earlier frames one after another, and all later ones. */
  methods: [Uint8Array, Uint8Array];
  /** Whether to find the methods' own flows, too: `flows` is empty else. */
  motion: boolean;
}

export type WarpResponse =
  | { id: number; errors: number[]; flows: number[]; valid: number }
  | { id: number; failure: string };

if (parentPort === null) throw new Error('warpWorker runs in a worker_threads Worker only');
const port = parentPort;
const session = InferenceSession.create((workerData as { model: string }).model, {
  extra: { session: { intra_op: { allow_spinning: '0' } } },
});
// An unreadable model is reported with the first request.
session.catch(() => {});

/** Null: no more requests come. */
port.on('message', (request: WarpRequest | null) => {
  if (request === null) {
    void session
      .then((loaded) => loaded.release())
      .catch(() => {})
      .finally(() => port.close());
    return;
  }
  measure(request).then(
    (response) => port.postMessage(response),
    (thrown: unknown) => port.postMessage({ id: request.id, failure: String(thrown) } satisfies WarpResponse),
  );
});

async function measure({
  id,
  width,
  height,
  reference,
  methods,
  motion,
}: WarpRequest): Promise<WarpResponse> {
  const luma = (data: Uint8Array) =>
    new Tensor('uint8', data, [data.length / (width * height), 1, height, width]);
  const results = await (await session).run({
    ref_prev: luma(reference[0]),
    ref_cur: luma(reference[1]),
    prev: luma(methods[0]),
    cur: luma(methods[1]),
    moved_prev: luma(motion ? methods[0] : new Uint8Array(0)),
    moved: luma(motion ? methods[1] : new Uint8Array(0)),
  });
  const { error, tof, valid } = results;
  if (error === undefined || tof === undefined || valid === undefined) {
    throw new Error('the graph gives no error');
  }
  const floats = (tensor: Tensor) => Array.from(tensor.data as Float32Array);
  return { id, errors: floats(error), flows: floats(tof), valid: Number(valid.data[0]) };
}
