/** `vireo serve`: the relay. */
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { type LoadConfigOptions, loadConfig } from '../config/loadConfig.js';
import type { Config } from '../config/schema.js';
import { bundledModelsUrl } from '../entrypoints.js';
import { VireoServer } from '../http/VireoServer.js';
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
  const { config, file } = await loadConfig(configOptions(flags));
  const logger = createLogger(config.log.level, 'vireo');
  logger.info({ file }, file === null ? 'no configuration file: defaults' : `configuration from ${file}`);

  const stopped = onStopSignal(logger);
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
  return createRestorer(restorerOptions(config), logger);
}

export function restorerOptions({ restoration, log }: Config): RestorerOptions {
  return {
    modelDirs: [...restoration.modelDirs, fileURLToPath(bundledModelsUrl)],
    model: restoration.model,
    provider: restoration.provider,
    threads: restoration.threads,
    maxTracks: restoration.maxTracks,
    blockBudgetMs: restoration.blockBudgetMs,
    memoryLimitBytes: restoration.memoryLimitMb * 1024 * 1024,
    pingIntervalMs: restoration.pingIntervalMs,
    pingTimeoutMs: restoration.pingTimeoutMs,
    logLevel: log.level,
  };
}

/** Resolves at the first SIGTERM or SIGINT; the second ends the process at once. */
function onStopSignal(logger: Logger): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping) process.exit(1);
      stopping = true;
      logger.info({ signal }, 'draining; another signal stops at once');
      resolve();
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}
