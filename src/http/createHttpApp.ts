import express, { type ErrorRequestHandler, type Express } from 'express';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Relay } from '../relay/Relay.js';
import { createAdminApi } from './adminApi.js';
import type { Metrics } from './Metrics.js';
import type { Readiness } from './Readiness.js';
import { createWebClient, securityHeaders } from './webClient.js';

export interface HttpAppOptions {
  /** Null until the engine is up. */
  relay: () => Relay | null;
  readiness: Readiness;
  metrics: Metrics;
  adminToken: string | undefined;
  trustProxy: boolean;
  /** Folder of the built web client. */
  webClientDir: string;
  version: string;
  logger: Logger;
}

/** Everything the relay answers over plain HTTP. */
export function createHttpApp(options: HttpAppOptions): Express {
  const { relay, readiness, metrics, logger } = options;
  const startedAtMs = Date.now();
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', options.trustProxy ? 1 : false);
  app.use(securityHeaders);
  app.get('/healthz', (_request, response) => {
    const uptimeSeconds = Math.round((Date.now() - startedAtMs) / 1_000);
    response.set('Cache-Control', 'no-store').json({ status: 'ok', version: options.version, uptimeSeconds });
  });
  app.get('/readyz', (_request, response) => {
    const { missing } = readiness;
    response
      .status(missing.length === 0 ? 200 : 503)
      .set('Cache-Control', 'no-store')
      .json({ status: missing.length === 0 ? 'ready' : 'not-ready', missing });
  });
  app.get('/metrics', async (_request, response) => {
    response.set('Content-Type', metrics.contentType).send(await metrics.render());
  });
  app.use('/api/v1', createAdminApi(options.adminToken, relay));
  app.use(createWebClient(options.webClientDir));
  app.use((request) => {
    throw new VireoError('not-found', `${request.method} ${request.path}: there is nothing here`);
  });
  app.use(errorHandler(logger));
  return app;
}

/** Four arguments are how express knows an error handler. */
function errorHandler(logger: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    if (response.headersSent) return next(error);
    const failure = asVireoError(error);
    if (failure.code === 'internal')
      logger.error({ err: error, path: request.path }, 'an HTTP request failed');
    const message = failure.code === 'internal' ? 'internal error of the relay' : failure.message;
    response.status(failure.status).json({ error: { code: failure.code, message } });
  };
}

/** express and its parts throw errors with a status of their own (a broken %-escape, a missing file). */
function asVireoError(error: unknown): VireoError {
  if (error instanceof VireoError) return error;
  const status = typeof error === 'object' && error !== null && 'status' in error ? error.status : undefined;
  if (status === 404) return new VireoError('not-found', 'there is nothing here');
  if (status === 403) return new VireoError('forbidden', 'this may not be read');
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new VireoError('bad-request', 'not a valid request');
  return VireoError.from(error);
}
