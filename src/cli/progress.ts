/** A progress bar on stderr, on a terminal only: what a command prints for its caller goes to stdout. */
import { Presets, SingleBar } from 'cli-progress';

export interface Progress {
  update(done: number): void;
  stop(): void;
}

/** `total` null: the count alone is shown. */
export function startProgress(label: string, total: number | null, unit = 'frames'): Progress {
  if (!process.stderr.isTTY) return { update: () => undefined, stop: () => undefined };
  const format =
    total === null
      ? `${label} {value} ${unit} | {duration_formatted}`
      : `${label} {bar} {percentage}% | {value}/{total} ${unit} | {eta_formatted} left`;
  const bar = new SingleBar(
    { format, stream: process.stderr, hideCursor: true, clearOnComplete: true },
    Presets.shades_classic,
  );
  bar.start(total ?? 0, 0);
  return {
    update(done) {
      if (total !== null && done > bar.getTotal()) bar.setTotal(done);
      bar.update(done);
    },
    stop: () => bar.stop(),
  };
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}
