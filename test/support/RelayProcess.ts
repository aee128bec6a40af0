import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';

const bin = fileURLToPath(new URL('../../bin/vireo.js', import.meta.url));

export interface RelayProcessOptions {
  /** Merged over a configuration that binds to loopback and to free ports. */
  config?: Record<string, Record<string, unknown>>;
  /** Wait for /readyz (models warm). Default true. */
  waitReady?: boolean;
  readyTimeoutMs?: number;
}

/** `vireo serve` as its users run it: the real command, in a process of its own. */
export class RelayProcess {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #log: string[];

  private constructor(child: ChildProcess, folder: string, url: string, log: string[]) {
    this.#child = child;
    this.#folder = folder;
    this.#log = log;
    this.url = url;
  }

  static async start(options: RelayProcessOptions = {}): Promise<RelayProcess> {
    const folder = mkdtempSync(join(tmpdir(), 'vireo-relay-'));
    const base: Record<string, Record<string, unknown>> = {
      http: { host: '127.0.0.1', port: 0 },
      rtc: { listenIps: ['127.0.0.1'], port: 0 },
      log: { level: 'info' },
    };
    const config: Record<string, Record<string, unknown>> = { ...base };
    for (const [section, values] of Object.entries(options.config ?? {})) {
      config[section] = { ...base[section], ...values };
    }
    const file = join(folder, 'vireo.yaml');
    writeFileSync(file, stringify(config));
    const child = spawn(process.execPath, [bin, 'serve', '--config', file], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const log: string[] = [];
    const url = await new Promise<string>((resolve, reject) => {
      let stdout = '';
      child.stderr?.on('data', (chunk: Buffer) => {
        log.push(chunk.toString());
        if (log.length > 2_000) log.shift();
      });
      child.stdout?.on('data', (chunk: Buffer) => {
        stdout += chunk.toString();
        const found = /http:\/\/[\w.:[\]-]+?:\d+/.exec(stdout);
        if (found) resolve(found[0]);
      });
      child.once('exit', (code) =>
        reject(new Error(`vireo serve ended with ${code}: ${log.join('').slice(-2_000)}`)),
      );
      child.once('error', reject);
    });
    const relay = new RelayProcess(child, folder, url, log);
    if (options.waitReady !== false) await relay.waitReady(options.readyTimeoutMs ?? 60_000);
    return relay;
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get exitCode(): number | null {
    return this.#child.exitCode;
  }

  get log(): string {
    return this.#log.join('');
  }

  async waitReady(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    let last = '';
    while (Date.now() < deadline) {
      const response = await fetch(`${this.url}/readyz`).catch(() => null);
      if (response?.ok) return;
      last = response ? await response.text() : 'no answer';
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`relay not ready after ${timeoutMs} ms: ${last}\n${this.log.slice(-2_000)}`);
  }

  /** Process ids of this relay's restorer children. */
  restorerPids(): number[] {
    try {
      const lines = execFileSync('pgrep', ['-P', String(this.pid), '-f', 'vireo-restorer'], {
        encoding: 'utf8',
      });
      return lines.split('\n').filter(Boolean).map(Number);
    } catch {
      return [];
    }
  }

  /** Sum over all label sets of one metric; NaN when the relay does not export it. */
  async metric(name: string, labels: Record<string, string> = {}): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    let sum = Number.NaN;
    for (const line of text.split('\n')) {
      if (!line.startsWith(`${name}{`) && !line.startsWith(`${name} `)) continue;
      if (!Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`))) continue;
      sum = (Number.isNaN(sum) ? 0 : sum) + Number(line.slice(line.lastIndexOf(' ') + 1));
    }
    return sum;
  }

  /** SIGTERM; resolves with the exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
      this.#child.kill(signal);
      const timer = setTimeout(() => this.#child.kill('SIGKILL'), 15_000);
      await gone;
      clearTimeout(timer);
    }
    rmSync(this.#folder, { recursive: true, force: true });
    return this.#child.exitCode;
  }
}
