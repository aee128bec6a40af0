import { VireoError, type VireoErrorCode } from '../../errors.js';

/** mediasoup's errors carry their meaning in class names and in the worker's messages. */
function codeOf(error: Error): VireoErrorCode {
  if (error.name === 'UnsupportedError') return 'unsupported';
  if (/unsupported codec|no compatible/i.test(error.message)) return 'unsupported';
  if (/already (exists|called)/i.test(error.message)) return 'conflict';
  if (/not found|closed/i.test(error.message)) return 'not-found';
  if (error instanceof TypeError) return 'bad-request';
  return 'internal';
}

/** Awaits a mediasoup call and turns what it throws into a VireoError that names the call. */
export async function translated<T>(what: string, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (thrown) {
    if (thrown instanceof VireoError) throw thrown;
    const error = thrown instanceof Error ? thrown : new Error(String(thrown));
    throw new VireoError(codeOf(error), `${what}: ${error.message}`, { cause: error });
  }
}
