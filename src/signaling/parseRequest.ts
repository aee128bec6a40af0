import type { z } from 'zod';
import { VireoError } from '../errors.js';
import { type RequestData, type RequestName, requestSchemas } from './messages.js';

export type ParsedRequest = { [N in RequestName]: { name: N; data: RequestData<N> } }[RequestName];

/** Long or odd text from a client is cut before it is repeated in an answer or a log. */
const QUOTED_LENGTH = 40;

/** Whether a message names a request of the protocol: the only names that are fit for a metric's label. */
export function knownRequestName(message: unknown): RequestName | null {
  if (typeof message !== 'object' || message === null || !('name' in message)) return null;
  const { name } = message;
  return typeof name === 'string' && Object.hasOwn(requestSchemas, name) ? (name as RequestName) : null;
}

/** Validates a message from a client. @throws VireoError `bad-request` that names the offending field */
export function parseRequest(message: unknown): ParsedRequest {
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    throw new VireoError('bad-request', 'message: must be an object {name, data}');
  }
  const name = knownRequestName(message);
  if (name === null) {
    const given = 'name' in message ? message.name : undefined;
    throw new VireoError('bad-request', `name: unknown request ${quote(given)}`);
  }
  const data = 'data' in message ? message.data : undefined;
  const parsed = safeParse(name, data);
  if (!parsed.success) throw new VireoError('bad-request', describeIssues(parsed.error.issues));
  return { name, data: parsed.data } as ParsedRequest;
}

function safeParse(name: RequestName, data: unknown): z.ZodSafeParseResult<unknown> {
  try {
    return requestSchemas[name].safeParse(data);
  } catch (error) {
    // zod compares the lengths of what has a wrong type, too: `{length: {valueOf: 1, toString: 1}}` is beyond comparing.
    throw new VireoError('bad-request', 'data: is not valid', { cause: error });
  }
}

/** The first issue with its path, as `data.rtpParameters.codecs[0].payloadType: …`. */
export function describeIssues(issues: readonly z.core.$ZodIssue[]): string {
  const [first] = issues;
  if (!first) return 'data: is not valid';
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  const keys = first.code === 'unrecognized_keys' ? first.keys.map(quote).join(', ') : null;
  const message = keys === null ? lowerFirst(first.message) : `unknown key ${keys}`;
  return `data${formatPath(first.path)}: ${message}${more}`;
}

export function formatPath(path: readonly PropertyKey[]): string {
  return path.map((part) => (typeof part === 'number' ? `[${part}]` : `.${cut(String(part))}`)).join('');
}

function quote(value: unknown): string {
  return cut(JSON.stringify(value) ?? String(value));
}

function cut(text: string): string {
  return text.length > QUOTED_LENGTH ? `${text.slice(0, QUOTED_LENGTH)}…` : text;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
