import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type RequestHandler, type Response, Router, static as serveStatic } from 'express';
import { isRoomName } from '../signaling/roomName.js';

const NOT_BUILT = `The web client is not built, so there is no page here. Run \`npm run setup\` in Vireo's folder, then
reload. The relay itself works: signalling is at /socket.io/, its state at /readyz.
`;

const CONTENT_SECURITY_POLICY = [
  "default-src 'self'",
  "script-src 'self'",
  // Positions of tiles and meters are set from scripts.
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "media-src 'self' blob: mediastream:",
  // Older Safari does not take 'self' for websockets of the same origin.
  "connect-src 'self' ws: wss:",
  "worker-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'self'",
].join('; ');

export const securityHeaders: RequestHandler = (_request, response, next) => {
  response.set({
    'Content-Security-Policy': CONTENT_SECURITY_POLICY,
    'Permissions-Policy':
      'camera=(self), microphone=(self), display-capture=(self), autoplay=(self), geolocation=()',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'SAMEORIGIN',
    'Cross-Origin-Opener-Policy': 'same-origin',
  });
  next();
};

/** The lobby, the join page and their assets, from the built web client's folder. */
export function createWebClient(folder: string): Router {
  const router = Router();
  const index = join(folder, 'index.html');
  const sendPage = (response: Response) => {
    // Looked up each time: the client may be built while the relay runs.
    if (!existsSync(index)) {
      response.status(404).type('text/plain').send(NOT_BUILT);
      return;
    }
    response.set('Cache-Control', 'no-cache').sendFile(index);
  };
  router.get('/', (_request, response) => sendPage(response));
  router.get('/r/:room', (request, response) => {
    // The page says what is wrong with the name, and asks for another.
    if (!isRoomName(request.params.room)) response.status(404);
    sendPage(response);
  });
  router.use(
    '/assets',
    // Vite puts a hash of its content into each asset's name.
    serveStatic(join(folder, 'assets'), {
      immutable: true,
      maxAge: '365d',
      index: false,
      fallthrough: false,
    }),
  );
  router.use(serveStatic(folder, { index: false, maxAge: '1h' }));
  return router;
}
