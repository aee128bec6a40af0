import { type DestinationStream, destination, type Logger, pino } from 'pino';

export type { Logger };
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** JSON lines on stderr: stdout belongs to what a command prints for its caller. */
export function createLogger(level: LogLevel, name: string, stream?: DestinationStream): Logger {
  return pino({ level, name, base: { pid: process.pid } }, stream ?? destination({ fd: 2, sync: true }));
}
