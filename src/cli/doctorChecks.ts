import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { availableParallelism, cpus, totalmem } from 'node:os';
import type { Config } from '../config/schema.js';
import { webClientDistUrl } from '../entrypoints.js';
import { parseIceUrl, probeIceServer } from './stunProbe.js';

export interface Finding {
  check: string;
  status: 'ok' | 'warn' | 'fail';
  detail: string;
  /** What to do about it; null when there is nothing to do. */
  fix: string | null;
}

type Check = (config: Config) => Promise<Finding[]>;

const GIB = 1024 ** 3;
const MIN_NODE = [20, 19] as const;
const ICE_TIMEOUT_MS = 1_500;

/** Every check, in the order it is printed. */
export const CHECKS: readonly [name: string, check: Check][] = [
  ['node', async () => [checkNode()]],
  ['machine', async () => [checkCores(), checkMemory(), checkVectors()]],
  ['engine', checkEngine],
  ['web client', async () => [checkWebClient()]],
  ['codecs', checkCodecs],
  ['models', checkModels],
  ['providers', checkProviders],
  ['ports', async (config) => [await checkHttpPort(config), ...(await checkRtcPort(config))]],
  ['address', async (config) => [checkAnnouncedAddress(config)]],
  ['turn', checkIceServers],
  ['access', async (config) => [checkAccess(config)]],
];

function ok(check: string, detail: string): Finding {
  return { check, status: 'ok', detail, fix: null };
}

function checkNode(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const enough = major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1]);
  if (enough) return ok('node', `Node ${process.versions.node}`);
  const fix = `install Node ${MIN_NODE.join('.')} or later`;
  return { check: 'node', status: 'fail', detail: `Node ${process.versions.node} is too old`, fix };
}

function checkCores(): Finding {
  const cores = availableParallelism();
  const detail = `${cores} ${cores === 1 ? 'core' : 'cores'}, ${cpus()[0]?.model.trim() || process.arch}`;
  if (cores >= 2) return ok('cores', detail);
  return { check: 'cores', status: 'warn', detail, fix: 'restoring one 720p track takes two cores' };
}

function checkMemory(): Finding {
  const detail = `${(totalmem() / GIB).toFixed(1)} GiB`;
  if (totalmem() >= 2 * GIB) return ok('memory', detail);
  return {
    check: 'memory',
    status: 'warn',
    detail,
    fix: 'give the machine 2 GiB or set restoration.enabled: false',
  };
}

/** int8 models live from these instructions. */
function checkVectors(): Finding {
  const check = 'instructions';
  if (process.arch !== 'x64') return ok(check, `${process.arch} (NEON)`);
  let flags: Set<string>;
  try {
    flags = new Set(/^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ') ?? []);
  } catch {
    return ok(check, 'not known on this system');
  }
  const found = ['avx2', 'avx512f', 'avx512_vnni', 'avx_vnni'].filter((flag) => flags.has(flag));
  if (found.some((flag) => flag.endsWith('vnni'))) return ok(check, found.join(', '));
  const fix =
    'restoration is some two to four times slower without VNNI; expect the lighter model, or use a GPU';
  return { check, status: 'warn', detail: found.join(', ') || 'no AVX2', fix };
}

async function checkEngine({ rtc }: Config): Promise<Finding[]> {
  const { findMediasoupWorker } = await import('../sfu/createEngine.js');
  const worker = findMediasoupWorker(rtc.mediasoupWorkerBin);
  const findings = [ok('engine werift', 'embedded, always there')];
  if (worker) findings.unshift(ok('engine mediasoup', `worker at ${worker.path} (${worker.source})`));
  else {
    findings.unshift({
      check: 'engine mediasoup',
      status: rtc.engine === 'mediasoup' ? 'fail' : 'warn',
      detail: rtc.mediasoupWorkerBin ? `no worker at ${rtc.mediasoupWorkerBin}` : 'no worker found',
      fix: 'run `npm run setup:mediasoup`; until then werift carries small calls',
    });
  }
  return findings;
}

function checkWebClient(): Finding {
  if (existsSync(new URL('index.html', webClientDistUrl))) return ok('web client', 'built');
  return { check: 'web client', status: 'fail', detail: 'not built', fix: 'run `npm run setup`' };
}

async function checkCodecs({ restoration }: Config): Promise<Finding[]> {
  const { availableEncoders } = await import('../media/NodeAvEncoder.js');
  const encoders = (await availableEncoders()).filter(({ available }) => available);
  return (['H264', 'VP8', 'AV1'] as const).map((codec) => {
    const check = `encoder ${codec}`;
    const names = encoders.filter((encoder) => encoder.codec === codec).map(({ encoderName }) => encoderName);
    if (names.length > 0) return ok(check, names.join(', '));
    const needed =
      restoration.enabled && (codec === 'VP8' || restoration.outputCodec === codec.toLowerCase());
    const fix = 'reinstall node-av (`npm ci`), or choose another restoration.outputCodec';
    return { check, status: needed ? 'fail' : 'warn', detail: 'none works here', fix } as const;
  });
}

async function checkModels({ restoration }: Config): Promise<Finding[]> {
  if (!restoration.enabled) return [ok('models', 'restoration is off (restoration.enabled: false)')];
  const { ModelPackages } = await import('../restoration/ModelPackages.js');
  const { takesSameSize } = await import('../restoration/fit.js');
  const packages = ModelPackages.create(restoration.modelDirs);
  const findings: Finding[] = [];
  const { AUTO_MODEL, CPU_MODEL, GPU_MODEL } = await import('../restoration/autoModel.js');
  const installed = (await packages.list()).map(({ name }) => name);
  // `auto` does without the GPU's model, but not with a broken one.
  const auto = [CPU_MODEL, ...installed.filter((name) => name === GPU_MODEL)];
  const needed = restoration.model === AUTO_MODEL ? auto : [restoration.model];
  const names = new Set([...needed, ...installed]);
  for (const name of names) {
    const check = `model ${name}`;
    try {
      const { manifest, directory } = await packages.load(name);
      if (needed.includes(name) && restoration.sameSize && !takesSameSize(manifest)) {
        const detail = 'restoration.sameSize: it has no variant for task deblur and scale 1';
        const fix = 'name another package in restoration.model, or set restoration.sameSize: false';
        findings.push({ check, status: 'fail', detail, fix });
        continue;
      }
      findings.push(ok(check, `${manifest.version}, checksums match, ${directory}`));
    } catch (error) {
      const status = needed.includes(name) ? 'fail' : 'warn';
      const fix = `get the package anew, or name another in restoration.model`;
      findings.push({ check, status, detail: (error as Error).message, fix });
    }
  }
  return findings;
}

async function checkProviders({ restoration }: Config): Promise<Finding[]> {
  const { AUTO_ORDER, missingReason } = await import('../restoration/providers.js');
  const { provider: wanted } = restoration;
  return AUTO_ORDER.map((provider) => {
    const check = `provider ${provider}`;
    const reason = missingReason(provider, wanted === 'auto');
    if (reason === null) {
      return ok(check, provider === 'cpu' ? 'always there' : 'seems to be there; `vireo bench` tries it');
    }
    if (provider !== wanted) return ok(check, `not used: ${reason}`);
    return {
      check,
      status: 'fail',
      detail: reason,
      fix: 'install it, or set restoration.provider: auto',
    } as const;
  });
}

async function checkHttpPort({ http }: Config): Promise<Finding> {
  const check = 'port http';
  const where = `TCP ${http.host}:${http.port}`;
  const server = createServer();
  try {
    server.listen(http.port, http.host);
    await once(server, 'listening');
    return ok(check, `${where} is free`);
  } catch (error) {
    const fix = 'stop what uses it (a running relay?), or choose another http.port';
    return { check, status: 'fail', detail: `${where}: ${(error as Error).message}`, fix };
  } finally {
    server.close();
  }
}

async function checkRtcPort({ rtc }: Config): Promise<Finding[]> {
  return Promise.all(
    rtc.listenIps.map(async (ip): Promise<Finding> => {
      const check = 'port rtc';
      const where = `UDP ${ip}:${rtc.port}`;
      const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
      try {
        socket.bind(rtc.port, ip);
        await once(socket, 'listening');
        return ok(check, `${where} is free; a firewall must let it through`);
      } catch (error) {
        const fix = 'stop what uses it (a running relay?), or choose another rtc.port or rtc.listenIps';
        return { check, status: 'fail', detail: `${where}: ${(error as Error).message}`, fix };
      } finally {
        socket.close();
      }
    }),
  );
}

function checkAnnouncedAddress({ rtc }: Config): Finding {
  const check = 'announced address';
  if (rtc.announcedAddress !== undefined) return ok(check, rtc.announcedAddress);
  const wildcard = rtc.listenIps.some((ip) => ip === '0.0.0.0' || ip === '::');
  return ok(
    check,
    wildcard
      ? "this machine's own addresses; behind NAT set rtc.announcedAddress to the public one"
      : rtc.listenIps.join(', '),
  );
}

async function checkIceServers({ ice }: Config): Promise<Finding[]> {
  if (ice.servers.length === 0) {
    const fix = 'where people sit behind strict firewalls, run coturn and set ice.servers and ice.turnSecret';
    return [{ check: 'turn', status: 'warn', detail: 'no STUN or TURN server is configured', fix }];
  }
  const urls = ice.servers.flatMap((server) => server.urls);
  const findings = await Promise.all(urls.map(checkIceUrl));
  const bare = ice.servers.find(
    ({ urls: own, credential }) => credential === undefined && own.some((url) => url.startsWith('turn')),
  );
  if (bare && ice.turnSecret === undefined) {
    const fix = 'set ice.turnSecret (coturn: use-auth-secret), or username and credential';
    findings.push({ check: 'turn', status: 'fail', detail: `${bare.urls[0]} has no credentials`, fix });
  }
  return findings;
}

async function checkIceUrl(url: string): Promise<Finding> {
  const check = `ice ${url}`;
  const address = parseIceUrl(url);
  if (!address) return { check, status: 'fail', detail: 'is no valid URL', fix: 'correct it in ice.servers' };
  const failure = await probeIceServer(address, ICE_TIMEOUT_MS);
  if (failure === null) return ok(check, `answers over ${address.transport}`);
  return { check, status: 'warn', detail: failure, fix: 'check its address, and the firewall between' };
}

function checkAccess({ auth }: Config): Finding {
  return auth.secret === undefined
    ? ok('access', 'open: whoever reaches the page may join (auth.secret is not set)')
    : ok('access', 'joining needs a token (`vireo token`)');
}
