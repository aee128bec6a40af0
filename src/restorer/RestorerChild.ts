import { type ChildProcess, fork } from 'node:child_process';
import type { Logger } from '../log.js';
import { type FromChild, parseFromChild, type ToChild, toChildSchema } from './ipc.js';
import type { RestorerOptions } from './types.js';

export interface RestorerChildHandlers {
  onMessage: (message: FromChild) => void;
  /** Once, whatever ended it; nothing is called afterwards. */
  onExit: (how: string) => void;
}

/** Longest an exit waits for the end of the channel, which comes with it. */
const LAST_WORDS_MS = 200;

/** One life of a restorer process: starts it, speaks with it, ends it. */
export class RestorerChild {
  readonly #process: ChildProcess;
  readonly #logger: Logger;
  #graceTimer: NodeJS.Timeout | null = null;
  #gone = false;

  private constructor(process: ChildProcess, logger: Logger) {
    this.#process = process;
    this.#logger = logger;
  }

  static start(
    entry: URL,
    options: RestorerOptions,
    logger: Logger,
    handlers: RestorerChildHandlers,
  ): RestorerChild {
    const process = fork(entry, [], {
      serialization: 'advanced',
      // Its standard output is not ours to give away (`--json`): everything goes to standard error.
      stdio: ['ignore', 2, 2, 'ipc'],
      // Debugger ports and loaders of the relay's own command line are not the child's.
      execArgv: [],
    });
    const child = new RestorerChild(process, logger);
    process.on('message', (raw) => child.#receive(raw, handlers));
    process.once('error', (error) => child.#ended(error.message, handlers));
    process.once('exit', (code, signal) => {
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
      if (!process.connected) return child.#ended(how, handlers);
      // Its last words may still be in the channel: they end with it.
      process.once('disconnect', () => child.#ended(how, handlers));
      setTimeout(() => child.#ended(how, handlers), LAST_WORDS_MS).unref();
    });
    child.send({ type: 'start', options });
    return child;
  }

  get pid(): number | null {
    return this.#process.pid ?? null;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Throws when the message is not valid; a channel that is closing is not an error (the exit follows). */
  send(message: ToChild): void {
    const valid = toChildSchema.parse(message);
    if (this.#gone || !this.#process.connected) return;
    this.#process.send(valid, (error) => {
      if (error) this.#logger.debug({ err: error, type: valid.type }, 'restorer: message was not delivered');
    });
  }

  /** SIGTERM, then SIGKILL when it is still there after `graceMs`. */
  terminate(graceMs: number): void {
    if (this.#gone) return;
    this.#process.kill('SIGTERM');
    this.#graceTimer ??= setTimeout(() => {
      this.#logger.warn({ pid: this.pid, graceMs }, 'restorer: did not end in time, killed');
      this.kill();
    }, graceMs);
  }

  kill(): void {
    if (!this.#gone) this.#process.kill('SIGKILL');
  }

  #receive(raw: unknown, handlers: RestorerChildHandlers): void {
    if (this.#gone) return;
    let message: FromChild;
    try {
      message = parseFromChild(raw);
    } catch (error) {
      this.#logger.error({ err: error }, 'restorer: ignored a message');
      return;
    }
    handlers.onMessage(message);
  }

  #ended(how: string, handlers: RestorerChildHandlers): void {
    if (this.#gone) return;
    this.#gone = true;
    if (this.#graceTimer) clearTimeout(this.#graceTimer);
    this.#process.removeAllListeners('message');
    if (this.#process.connected) this.#process.disconnect();
    handlers.onExit(how);
  }
}
