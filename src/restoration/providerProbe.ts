/** Entry of the child process that tries an execution provider, so that a bad driver harms nobody. */
import { VireoError } from '../errors.js';
import { i420ByteLength } from '../media/types.js';
import { ModelSession } from './ModelSession.js';
import type { ProbeReply, ProbeRequest } from './providers.js';
import type { ProviderName } from './types.js';

const TIMED_RUNS = 3;
/** A software adapter takes seconds for a block; one run tells enough. */
const SLOW_RUN_MS = 500;

async function timeRuns(request: ProbeRequest, provider: ProviderName): Promise<number> {
  const { model, variantIndex, threads, width, height } = request;
  const session = await ModelSession.create(model, variantIndex, { provider, threads });
  const { T, scale } = session.variant;
  const pictures = (bytes: number) => Array.from({ length: T }, () => new ArrayBuffer(bytes));
  const inputs = pictures(i420ByteLength(width, height));
  const outputs = pictures(i420ByteLength(width * scale, height * scale));
  const state = session.createState(width, height);
  const time = async () => (await session.run(state, inputs, outputs)).runMs;
  let bestMs = await time();
  if (bestMs > SLOW_RUN_MS) bestMs = Math.min(bestMs, await time());
  else for (let run = 0; run < TIMED_RUNS; run++) bestMs = Math.min(bestMs, await time());
  await session.release();
  return bestMs;
}

async function probe(request: ProbeRequest): Promise<ProbeReply> {
  try {
    const providerMs = await timeRuns(request, request.provider);
    return { providerMs, cpuMs: await timeRuns(request, 'cpu') };
  } catch (thrown) {
    return { error: VireoError.from(thrown).message };
  }
}

process.title = 'vireo-probe';
process.once('disconnect', () => process.exit(1));
process.once('message', (message) => {
  void probe(message as ProbeRequest).then((reply) => process.send?.(reply));
});
