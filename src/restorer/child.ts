/**
 * Entry of the restorer process; speaks `ipc.ts` with the relay that forked it. Ends with 0 on SIGTERM and
 * when the relay is gone, with 1 when it cannot start or anything unforeseen happens: the relay starts another.
 */
import { createLogger, type Logger } from '../log.js';
import { type FromChild, parseToChild, type ToChild } from './ipc.js';
import type { RestorerHost } from './RestorerHost.js';
import type { RestorerOptions } from './types.js';

process.title = 'vireo-restorer';

/** Longest a clean end may take; shorter than the relay's patience. */
const DRAIN_MS = 3_000;

let logger: Logger = createLogger('info', 'restorer');
let host: RestorerHost | null = null;
let starting: Promise<void> | null = null;
let ending = false;

function send(message: FromChild, sent?: () => void): void {
  if (!process.connected) {
    sent?.();
    return;
  }
  // Without a callback, a channel that closes at this moment would be an uncaught error.
  process.send?.(message, undefined, undefined, () => sent?.());
}

async function end(code: number): Promise<void> {
  if (ending) return;
  ending = true;
  setTimeout(() => process.exit(code), DRAIN_MS).unref();
  await starting?.catch(() => undefined);
  await host?.close();
  process.exit(code);
}

function fatal(error: unknown): void {
  logger.fatal({ err: error }, 'restorer: ends');
  process.exit(1);
}

async function start(options: RestorerOptions): Promise<void> {
  logger = createLogger(options.logLevel, 'restorer');
  // Loaded now and not before: with it come the native libraries, and signals must be heard meanwhile.
  const { RestorerHost, failureOf } = await import('./RestorerHost.js');
  try {
    host = await RestorerHost.start({ options, logger, send, onFatal: fatal });
  } catch (error) {
    const failure = failureOf(error);
    logger.error({ code: failure.code }, failure.message);
    if (!ending) send(failure, () => process.exit(1));
  }
}

function receive(raw: unknown): void {
  let message: ToChild;
  try {
    message = parseToChild(raw);
  } catch (error) {
    logger.error({ err: error }, 'ignored a message');
    return;
  }
  if (message.type === 'start') starting ??= start(message.options);
  else host?.handle(message);
}

process.on('uncaughtException', fatal);
process.on('unhandledRejection', fatal);
process.on('message', receive);
process.once('disconnect', () => void end(0));
process.on('SIGTERM', () => void end(0));
// Ctrl-C goes to the whole terminal: the relay decides what it means for us.
process.on('SIGINT', () => undefined);
process.on('SIGHUP', () => undefined);
if (!process.connected) void end(0);
