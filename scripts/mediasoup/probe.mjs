import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';

const ANSWER_TIMEOUT_MS = 10_000;
const CHANNEL_FD = 4;

/**
 * Starts a mediasoup worker the way mediasoup does and waits for its first message, which says that it
 * is running; that takes its libraries, its crypto and its channel to be in order.
 *
 * @param {string} path the worker's binary
 * @param {string} version mediasoup's version, as the worker expects to be told
 * @returns {Promise<string | null>} null when it works, else one line that says why not
 */
export async function whyWorkerFails(path, version) {
  try {
    if (!(await stat(path)).isFile()) return 'it is not a file';
    await access(path, constants.X_OK);
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'there is no such file';
    return code === 'EACCES' ? 'it is not executable' : `it cannot be read (${code})`;
  }

  return await new Promise((resolve) => {
    const worker = spawn(path, ['--logLevel=none'], {
      env: { ...process.env, MEDIASOUP_VERSION: version },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
      windowsHide: true,
    });
    let stderr = '';
    let message = Buffer.alloc(0);
    /** @type {string | null | undefined} */
    let answer;

    /** @param {string | null} reason */
    const finish = (reason) => {
      if (answer !== undefined) return;
      answer = reason;
      clearTimeout(timer);
      // It holds nothing worth an orderly exit, which would cost 200 ms.
      worker.kill('SIGKILL');
      // What a wrapper script has started may hold the pipes for longer.
      for (const stream of worker.stdio) stream?.destroy();
      worker.unref();
      resolve(reason);
    };
    const timer = setTimeout(
      () => finish(`it did not answer within ${ANSWER_TIMEOUT_MS / 1000} s`),
      ANSWER_TIMEOUT_MS,
    );

    for (const stream of worker.stdio) stream?.on('error', () => {});
    worker.on('error', (error) => finish(`it does not start (${error.message})`));
    worker.on('close', (code, signal) => {
      const said = stderr.trim().split('\n')[0];
      finish(`it ended with ${signal ?? `code ${code}`}${said ? `: ${said}` : ''}`);
    });
    worker.stderr?.on('data', (chunk) => {
      if (stderr.length < 4096) stderr += chunk;
    });
    worker.stdio[CHANNEL_FD]?.on('data', (chunk) => {
      message = Buffer.concat([message, chunk]);
      if (message.length < 4 || message.length < 4 + message.readUInt32LE(0)) return;
      // The WORKER_RUNNING notification is addressed by the worker's process id.
      const isRunning = message.includes(`${worker.pid}`);
      finish(isRunning ? null : 'its first message is not the one mediasoup waits for');
    });
  });
}
