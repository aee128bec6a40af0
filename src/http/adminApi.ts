import { createHash, timingSafeEqual } from 'node:crypto';
import { type RequestHandler, Router } from 'express';
import { VireoError } from '../errors.js';
import type { Relay } from '../relay/Relay.js';
import type { RoomSession } from '../relay/RoomSession.js';

/** `/api/v1`: what is going on, for operators. Errors are JSON `{error: {code, message}}`. */
export function createAdminApi(adminToken: string | undefined, relay: () => Relay | null): Router {
  const router = Router();
  router.use(requireToken(adminToken));
  router.get('/rooms', (_request, response) => {
    const rooms = [...(relay()?.rooms.values() ?? [])].map(summarize);
    response.json({ rooms });
  });
  router.get('/rooms/:room', (request, response) => {
    const room = relay()?.rooms.get(request.params.room);
    if (!room) throw new VireoError('not-found', `room: there is no room "${request.params.room}"`);
    response.json(detail(room));
  });
  router.use((request) => {
    throw new VireoError('not-found', `${request.method} ${request.originalUrl}: there is no such resource`);
  });
  return router;
}

function requireToken(adminToken: string | undefined): RequestHandler {
  return (request, response, next) => {
    if (adminToken === undefined)
      throw new VireoError('forbidden', 'the admin API is off: auth.adminToken is not set');
    const [, given] = /^bearer +(.+)$/i.exec(request.get('authorization') ?? '') ?? [];
    if (given === undefined || !sameText(given, adminToken)) {
      response.set('WWW-Authenticate', 'Bearer realm="vireo"');
      throw new VireoError('unauthorized', 'authorization: needs "Bearer" with the token of auth.adminToken');
    }
    next();
  };
}

/** In a time that tells nothing of the texts, their lengths included. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function summarize(room: RoomSession) {
  const publications = [...room.publications.values()];
  return {
    name: room.name,
    createdAt: room.createdAt.toISOString(),
    participants: room.participants.size,
    publications: publications.length,
    restored: publications.filter(({ publication }) => publication.restored.state === 'active').length,
  };
}

function detail(room: RoomSession) {
  return {
    ...summarize(room),
    participants: room.room.describe().map((description) => ({
      ...description,
      downlinkBps: room.room.participant(description.participantId).downlinkBps,
      publications: description.publications.map((publication) => ({
        ...publication,
        subscribers: room.room.publication(publication.publicationId).subscribers.size,
        report: room.publications.get(publication.publicationId)?.report ?? null,
      })),
    })),
  };
}
