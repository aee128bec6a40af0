import { readFile } from 'node:fs/promises';
import { isAbsolute, relative, resolve } from 'node:path';
import { isMap, isNode, isScalar, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { VireoError } from '../errors.js';
import { CONFIG_KEYS, type ConfigKey, sections } from './keys.js';
import { type Config, configSchema } from './schema.js';

export interface LoadConfigOptions {
  /** `--config`; without it `vireo.yaml` of the folder, when there is one. */
  file?: string | undefined;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** What flags say, by key path (`http.port`): the value as given, and the flag's name for errors. */
  flags?: Record<string, { value: unknown; flag: string } | undefined>;
}

export interface LoadedConfig {
  config: Config;
  /** The file that was read; null: none. */
  file: string | null;
}

const DEFAULT_FILE = 'vireo.yaml';

/** Values of one source by section and key, and where each came from. */
type Values = Record<string, Record<string, unknown>>;
type Locate = (path: readonly PropertyKey[]) => string;

/**
 * Puts the configuration together: file, then environment, then flags, the later over the earlier.
 * @throws VireoError `config-invalid`: one line that names the key, the value, what is allowed and the source
 */
export async function loadConfig(options: LoadConfigOptions = {}): Promise<LoadedConfig> {
  const cwd = options.cwd ?? process.cwd();
  const file = await readConfigFile(options.file, cwd);
  const values: Values = structuredClone(file?.values ?? {});
  const origins = new Map<string, string>();
  for (const [key, raw] of environmentKeys(options.env ?? process.env)) {
    put(values, key, fromText(key, raw));
    origins.set(key.path, `environment variable ${key.env}`);
  }
  for (const key of CONFIG_KEYS) {
    const given = options.flags?.[key.path];
    if (given === undefined || given.value === undefined) continue;
    put(values, key, typeof given.value === 'string' ? fromText(key, given.value) : given.value);
    origins.set(key.path, `flag ${given.flag}`);
  }
  const parsed = configSchema.safeParse(values);
  if (parsed.success) return { config: parsed.data, file: file?.name ?? null };
  const locate: Locate = (path) =>
    origins.get(path.slice(0, 2).join('.')) ?? file?.locate(path) ?? 'configuration';
  throw new VireoError('config-invalid', describeIssue(parsed.error.issues[0], values, locate));
}

async function readConfigFile(given: string | undefined, cwd: string) {
  const path = resolve(cwd, given ?? DEFAULT_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (missing && given === undefined) return null;
    const why = missing ? 'does not exist' : `cannot be read: ${(error as Error).message}`;
    throw new VireoError('config-invalid', `--config: ${given ?? DEFAULT_FILE} ${why}`);
  }
  const fromCwd = relative(cwd, path);
  return parseConfigText(text, fromCwd.startsWith('..') || isAbsolute(fromCwd) ? path : fromCwd);
}

function parseConfigText(text: string, name: string): { name: string; values: Values; locate: Locate } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const [error] = document.errors;
  if (error) {
    const { line, col } = lines.linePos(error.pos[0]);
    throw new VireoError(
      'config-invalid',
      `${name}:${line}:${col}: is not valid YAML: ${oneLine(error.message)}`,
    );
  }
  const content: unknown = document.toJS() ?? {};
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new VireoError(
      'config-invalid',
      `${name}: must be a mapping of sections (${sections().join(', ')})`,
    );
  }
  // A section with nothing but comments in it is null in YAML and means: all defaults.
  const values = Object.fromEntries(
    Object.entries(content).filter(([, section]) => section !== null),
  ) as Values;
  const locate: Locate = (path) => {
    for (let length = path.length; length > 0; length--) {
      const offset = offsetOf(document.contents, path.slice(0, length));
      if (offset !== null) return `${name}:${lines.linePos(offset).line}`;
    }
    return name;
  };
  return { name, values, locate };
}

/** Where the key (or list entry) at a path begins in the file. */
function offsetOf(root: unknown, path: readonly PropertyKey[]): number | null {
  let node: unknown = root;
  let offset: number | null = null;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (!pair) return null;
      offset = isNode(pair.key) ? (pair.key.range?.[0] ?? null) : null;
      node = pair.value;
    } else if (isNode(node) && 'items' in node && Array.isArray(node.items)) {
      node = node.items[Number(part)];
      offset = isNode(node) ? (node.range?.[0] ?? offset) : offset;
    } else return null;
  }
  return offset;
}

/** @throws VireoError for a variable of one of our sections that is no key: a typo must not pass silently */
function environmentKeys(env: NodeJS.ProcessEnv): [ConfigKey, string][] {
  const byName = new Map(CONFIG_KEYS.map((key) => [key.env, key]));
  const prefixes = sections().map((section) => `VIREO_${section.toUpperCase()}_`);
  const found: [ConfigKey, string][] = [];
  for (const [name, raw] of Object.entries(env)) {
    const key = byName.get(name);
    if (key) {
      if (raw !== undefined && raw !== '') found.push([key, raw]);
      continue;
    }
    const prefix = prefixes.find((candidate) => name.startsWith(candidate));
    if (!prefix) continue;
    const known = [...byName.keys()].filter((candidate) => candidate.startsWith(prefix)).join(', ');
    throw new VireoError('config-invalid', `${name}: unknown environment variable; allowed: ${known}`);
  }
  return found;
}

/** What a text from the environment or a flag means for a key; what does not fit is left for the schema to refuse. */
function fromText(key: ConfigKey, text: string): unknown {
  switch (key.kind) {
    case 'number':
      return /^-?\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text;
    case 'boolean':
      if (/^(true|yes|on|1)$/i.test(text.trim())) return true;
      return /^(false|no|off|0)$/i.test(text.trim()) ? false : text;
    case 'strings':
      return splitList(text);
    case 'objects':
      return fromObjectsText(text);
    default:
      return text;
  }
}

/** A JSON list, or URLs separated by commas. */
function fromObjectsText(text: string): unknown {
  if (!text.trim().startsWith('[')) return splitList(text).map((url) => ({ urls: [url] }));
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function splitList(text: string): string[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

function put(values: Values, key: ConfigKey, value: unknown): void {
  const section = values[key.section];
  if (typeof section === 'object' && section !== null) section[key.key] = value;
  else values[key.section] = { [key.key]: value };
}

function describeIssue(issue: z.core.$ZodIssue | undefined, values: Values, locate: Locate): string {
  if (!issue) return 'the configuration is not valid';
  if (issue.code === 'unrecognized_keys') {
    const [unknown = ''] = issue.keys;
    const path = [...issue.path, unknown];
    return `${pathText(path)}: unknown key; allowed: ${knownKeys(issue.path)} (${locate(path)})`;
  }
  const key = CONFIG_KEYS.find(({ path }) => path === issue.path.slice(0, 2).join('.'));
  const given = key?.secret ? 'the value given' : quote(valueAt(values, issue.path));
  const nested = issue.path.length > 2;
  const allowed = key && !nested ? `must be ${key.allowed}` : oneLine(issue.message);
  return `${pathText(issue.path)}: ${given} is not allowed; ${allowed} (${locate(issue.path)})`;
}

function knownKeys(path: readonly PropertyKey[]): string {
  if (path.length === 0) return sections().join(', ');
  const keys = CONFIG_KEYS.filter(({ section }) => path.length === 1 && section === path[0]).map(
    ({ key }) => key,
  );
  return keys.length > 0 ? keys.join(', ') : 'urls, username, credential';
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((part, i) => (typeof part === 'number' ? `[${part}]` : `${i ? '.' : ''}${String(part)}`))
    .join('');
}

function valueAt(values: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) => (typeof value === 'object' && value !== null ? Reflect.get(value, part) : undefined),
    values,
  );
}

function quote(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}
