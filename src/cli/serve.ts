/** `vireo serve`: the relay. */
import { Command, Option } from 'commander';
import { type LoadConfigOptions, loadConfig } from '../config/loadConfig.js';
import type { Config } from '../config/schema.js';
import { VireoError } from '../errors.js';
import { createLogger, type Logger } from '../log.js';
import type { Restorer, RestorerOptions } from '../restorer/types.js';
import type { SfuEngine } from '../sfu/types.js';
import { friendlyRoomName } from './roomName.js';
import { readVersion } from './version.js';

interface ServeFlags {
  config?: string;
  host?: string;
  port?: string;
  engine?: string;
}

/** `npm start` and `timeout` pass on a signal that the terminal sent to the whole group already: that is one, not two. */
const SAME_SIGNAL_MS = 1_000;

export function serveCommand(): Command {
  return new Command('serve')
    .description('start the relay and print the join URL')
    .option('--config <file>', 'configuration file (default: vireo.yaml here, if there is one)')
    .option('--host <address>', 'address of the web server (http.host)')
    .option('--port <number>', 'TCP port of the web server (http.port)')
    .addOption(new Option('--engine <name>', 'SFU engine: auto, werift or mediasoup (rtc.engine)'))
    .action(async (flags: ServeFlags) => serve(flags));
}

/** Resolves when a signal has ended the relay and everything is closed. @throws VireoError when it cannot start */
export async function serve(flags: ServeFlags): Promise<void> {
  process.title = 'vireo';
  const stopSignal = waitForStopSignal();
  const { config, file } = await loadConfig(configOptions(flags));
  const logger = createLogger(config.log.level, 'vireo');
  logger.info({ file }, file === null ? 'no configuration file: defaults' : `configuration from ${file}`);

  const stopped = stopSignal.then((signal) =>
    logger.info({ signal }, 'draining; another signal stops at once'),
  );
  // Loaded now and not before: with it comes most of the code, and signals must be heard meanwhile.
  const { VireoServer } = await import('../http/VireoServer.js');
  const server = await VireoServer.start({
    config,
    version: readVersion(),
    logger,
    createEngine: () => startEngine(config, logger),
    createRestorer: () => startRestorer(config, logger),
  });
  process.stdout.write(`Join:  ${server.url}/r/${friendlyRoomName()}\nLobby: ${server.url}/\n`);
  try {
    // A model that cannot be had at the first start is a mistake to correct; later on the relay does without.
    await Promise.race([stopped, server.restorerReady]);
    await stopped;
  } finally {
    await server.drain();
  }
  // A restorer that was still starting may hold the process; its child ends with this one.
  process.exit(0);
}

function configOptions({ config, host, port, engine }: ServeFlags): LoadConfigOptions {
  return {
    file: config,
    flags: {
      'http.host': { value: host, flag: '--host' },
      'http.port': { value: port, flag: '--port' },
      'rtc.engine': { value: engine, flag: '--engine' },
    },
  };
}

async function startEngine({ rtc }: Config, logger: Logger): Promise<SfuEngine> {
  const { createSfuEngine } = await import('../sfu/createEngine.js');
  const engine = await createSfuEngine({
    engine: rtc.engine,
    mediasoupWorkerBin: rtc.mediasoupWorkerBin,
    rtcPort: rtc.port,
    listenIps: rtc.listenIps,
    announcedAddress: rtc.announcedAddress,
    initialDownlinkBps: rtc.initialDownlinkBps,
    plainListenIp: rtc.plainListenIp,
    logger,
  });
  logger.info({ engine: engine.kind, rtcPort: rtc.port }, 'the media engine is up');
  return engine;
}

async function startRestorer(config: Config, logger: Logger): Promise<Restorer> {
  const { createRestorer } = await import('../restorer/RestorerSupervisor.js');
  try {
    return await createRestorer(restorerOptions(config), logger);
  } catch (error) {
    const failure = VireoError.from(error);
    if (failure.code !== 'model-invalid' && failure.code !== 'not-found') throw failure;
    throw new VireoError(failure.code, `restoration.model: ${failure.message}`, { cause: error });
  }
}

export function restorerOptions({ restoration, log }: Config): RestorerOptions {
  return {
    modelDirs: restoration.modelDirs,
    model: restoration.model,
    provider: restoration.provider,
    threads: restoration.threads,
    maxTracks: restoration.maxTracks,
    blockBudgetMs: restoration.blockBudgetMs,
    sameSize: restoration.sameSize,
    memoryLimitBytes: restoration.memoryLimitMb * 1024 * 1024,
    pingIntervalMs: restoration.pingIntervalMs,
    pingTimeoutMs: restoration.pingTimeoutMs,
    logLevel: log.level,
  };
}

/** Resolves at the first SIGTERM or SIGINT; a later one ends the process at once. */
function waitForStopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let stoppingSinceMs: number | null = null;
    const onSignal = (signal: NodeJS.Signals) => {
      if (stoppingSinceMs !== null) {
        if (performance.now() - stoppingSinceMs > SAME_SIGNAL_MS) process.exit(1);
        return;
      }
      stoppingSinceMs = performance.now();
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}
