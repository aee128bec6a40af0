import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { friendlyRoomName } from '../../../src/cli/roomName.js';
import { parseIceUrl, probeIceServer } from '../../../src/cli/stunProbe.js';
import { parseDuration } from '../../../src/cli/token.js';
import { verifyJoinToken } from '../../../src/signaling/joinToken.js';
import { roomNameSchema } from '../../../src/signaling/messages.js';

const BIN = fileURLToPath(new URL('../../../bin/vireo.js', import.meta.url));
const SECRET = 'a secret of some length';

/** Runs the real command in an empty folder. */
function vireo(args: string[], env: NodeJS.ProcessEnv = {}) {
  const cwd = mkdtempSync(join(tmpdir(), 'vireo-cli-'));
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const options = { cwd, env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, timeout: 18_000 };
    execFile(process.execPath, [BIN, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stdout, stderr });
    });
  });
}

/** One line that says why. */
function reason({ code, stdout, stderr }: Awaited<ReturnType<typeof vireo>>): string {
  expect(code).toBe(1);
  expect(stdout).toBe('');
  const lines = stderr.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
  expect(lines).toHaveLength(1);
  return lines[0] ?? '';
}

describe('vireo', () => {
  it('lists its commands', async () => {
    const { code, stdout } = await vireo(['--help']);
    expect(code).toBe(0);
    for (const name of ['serve', 'restore', 'evaluate', 'bench', 'doctor', 'token'])
      expect(stdout).toContain(name);
    expect((await vireo(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it.each(['serve', 'doctor', 'token'])('explains %s', async (name) => {
    const { code, stdout } = await vireo([name, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: vireo ${name}`);
    expect(stdout).toContain('--config <file>');
    expect((await vireo(['help', name])).stdout).toBe(stdout);
  });

  it('says in one line what was wrong with a call', async () => {
    expect(reason(await vireo(['fly']))).toMatch(/unknown command 'fly'/);
    expect(reason(await vireo(['serve', '--fast']))).toMatch(/unknown option '--fast'/);
    expect(reason(await vireo(['token', '--room', 'blue']))).toMatch(/--name/);
  });

  it.each([
    [
      ['--uplink-height', '200'],
      /'--uplink-height <list>' argument '200' is invalid\. It must be 90, 144, 180, 240, 270, 360, 480, 540, 720/,
    ],
    [['--uplink-height', '180,180'], /'--uplink-height <list>' argument '180,180' is invalid/],
    [['--codec', 'mp3'], /--codec.*vp8, vp9, h264, av1, none/],
    [
      ['--against', 'bicubic,vireo'],
      /'--against <list>' argument 'bicubic,vireo' is invalid\. .*names of model packages/,
    ],
    [['--inpaint', '99'], /--inpaint.*from 0 to 95/],
    [['--bitrate', '60'], /--bitrate.*from 5k to 50M/],
  ])('says what evaluate does not take: %j', async (args, why) => {
    expect(reason(await vireo(['evaluate', 'clip.mp4', ...args]))).toMatch(why);
  });

  it('explains evaluate', async () => {
    const { code, stdout } = await vireo(['evaluate', '--help']);
    expect(code).toBe(0);
    for (const word of ['--uplink-height <list>', '--inpaint <percent>', 'tOF', 'hull', 'none']) {
      expect(stdout).toContain(word);
    }
  });
});

describe('vireo serve', () => {
  it('says in one line which key, flag or file is wrong', async () => {
    expect(reason(await vireo(['serve', '--port', 'abc']))).toMatch(/^vireo: http.port: "abc" .*flag --port/);
    expect(reason(await vireo(['serve', '--config', 'none.yaml']))).toBe(
      'vireo: --config: none.yaml does not exist',
    );
    expect(reason(await vireo(['serve', '--engine', 'fast']))).toMatch(/^vireo: rtc.engine: "fast"/);
  });

  it('names the port that is in use', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const args = ['serve', '--host', '127.0.0.1', '--port', String(port)];
    expect(reason(await vireo(args, { VIREO_LOG_LEVEL: 'silent' }))).toMatch(
      new RegExp(`^vireo: http\\.port: ${port} is in use`),
    );
    server.close();
  });
});

describe('vireo token', () => {
  const args = ['token', '--room', 'blue', '--name', 'Ann Lee'];

  it('prints a token that the relay takes', async () => {
    const { code, stdout } = await vireo([...args, '--ttl', '30m'], { VIREO_AUTH_SECRET: SECRET });
    expect(code).toBe(0);
    verifyJoinToken(SECRET, stdout.trim(), { room: 'blue', name: 'Ann Lee' });
    const json = await vireo([...args, '--json'], { VIREO_AUTH_SECRET: SECRET });
    expect(JSON.parse(json.stdout)).toMatchObject({
      room: 'blue',
      name: 'Ann Lee',
      token: expect.any(String),
    });
  });

  it('says what is missing or wrong', async () => {
    expect(reason(await vireo(args))).toMatch(/^vireo: auth\.secret: is not set/);
    expect(reason(await vireo([...args, '--ttl', 'soon']))).toMatch(/^vireo: --ttl: "soon"/);
    expect(reason(await vireo(['token', '--room', 'a b', '--name', 'A']))).toMatch(/^vireo: --room: "a b"/);
  });

  it('reads times', () => {
    expect(['90s', '30m', '1h', '7d'].map(parseDuration)).toEqual([90, 1_800, 3_600, 604_800]);
    for (const text of ['', '0s', '-1h', '1', '1.5h', '1y'])
      expect(() => parseDuration(text)).toThrow(/--ttl/);
  });
});

describe('vireo doctor', () => {
  it('finds out what works here and prints JSON', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vireo-doctor-'));
    const file = join(folder, 'c.yaml');
    writeFileSync(file, 'http: {port: 0}\nrtc: {port: 0}\nice:\n  servers: [{urls: ["stun:127.0.0.1:9"]}]\n');
    const { stdout } = await vireo(['doctor', '--config', file, '--json']);
    const report = JSON.parse(stdout) as {
      findings: { check: string; status: string; fix: string | null }[];
    };
    const status = new Map(report.findings.map((finding) => [finding.check, finding]));
    expect(status.get('engine werift')?.status).toBe('ok');
    expect(status.get('port http')?.status).toBe('ok');
    expect(status.get('ice stun:127.0.0.1:9')?.status).toBe('warn');
    for (const { status: level, fix } of report.findings) expect(fix === null).toBe(level === 'ok');
  });

  it('fails over a port that is taken, and says what to do', async () => {
    const socket = createSocket('udp4').bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const { port } = socket.address();
    const env = { VIREO_RTC_PORT: String(port), VIREO_RTC_LISTEN_IPS: '127.0.0.1', VIREO_HTTP_PORT: '0' };
    const { code, stdout, stderr } = await vireo(['doctor'], env);
    expect(code).toBe(1);
    expect(stdout).toMatch(/FAIL {2}port rtc .*\n +→ .*rtc\.port/);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    socket.close();
  });
});

describe('probing ICE servers', () => {
  it('reads their URLs', () => {
    expect(parseIceUrl('stun:a.example')).toEqual({ host: 'a.example', port: 3478, transport: 'udp' });
    expect(parseIceUrl('turn:a.example:99?transport=tcp')).toEqual({
      host: 'a.example',
      port: 99,
      transport: 'tcp',
    });
    expect(parseIceUrl('turns:[::1]')).toEqual({ host: '::1', port: 5349, transport: 'tcp' });
    expect(parseIceUrl('turn:')).toBeNull();
  });

  it('takes a binding response to its own request as an answer, and nothing else', async () => {
    let honest = false;
    const server = createSocket('udp4').bind(0, '127.0.0.1');
    await once(server, 'listening');
    server.on('message', (request, { port, address }) => {
      const answer = Buffer.from(request);
      answer.writeUInt16BE(0x0101, 0);
      if (!honest) answer.fill(7, 8, 20);
      server.send(answer, port, address);
    });
    const { port } = server.address();
    const target = { host: '127.0.0.1', port, transport: 'udp' } as const;
    expect(await probeIceServer(target, 300)).toMatch(/no answer/);
    honest = true;
    expect(await probeIceServer(target, 300)).toBeNull();
    server.close();
  });
});

describe('friendly room names', () => {
  it('are room names', () => {
    for (let i = 0; i < 50; i++) expect(roomNameSchema.safeParse(friendlyRoomName()).success).toBe(true);
  });
});
