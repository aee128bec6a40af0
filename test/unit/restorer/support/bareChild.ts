import { type ChildProcess, fork } from 'node:child_process';
import { restorerEntryUrl } from '../../../../src/entrypoints.js';
import type { RestorerOptions } from '../../../../src/restorer/types.js';

/** A child without a supervisor. */
export async function startBare(options: RestorerOptions): Promise<ChildProcess> {
  const child = fork(restorerEntryUrl, [], { serialization: 'advanced', execArgv: [] });
  const ready = message(child, 'ready');
  child.send({ type: 'start', options });
  await ready;
  return child;
}

/** The next message of a type that the child sends. */
export function message(child: ChildProcess, type: string): Promise<Record<string, unknown>> {
  return new Promise((resolve) => {
    const listener = (received: Record<string, unknown>): void => {
      if (received.type !== type) return;
      child.off('message', listener);
      resolve(received);
    };
    child.on('message', listener);
  });
}
