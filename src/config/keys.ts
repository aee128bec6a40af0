/** Walks `configSchema`: every key with its type, default and description, for loading and for the docs. */
import type { z } from 'zod';
import { configSchema } from './schema.js';

export type KeyKind = 'string' | 'number' | 'boolean' | 'strings' | 'objects';

export interface ConfigKey {
  section: string;
  key: string;
  /** `section.key`. */
  path: string;
  /** Its environment variable. */
  env: string;
  kind: KeyKind;
  /** What it may be, in words. */
  allowed: string;
  description: string;
  /** Undefined: none. */
  default: unknown;
  secret: boolean;
}

const SECRETS = new Set(['auth.secret', 'auth.adminToken', 'ice.turnSecret', 'ice.servers']);

/** The parts of zod's schemas that are read here; every schema class has them. */
interface SchemaDef {
  type: string;
  innerType?: SchemaNode;
  defaultValue?: unknown;
  shape?: Record<string, SchemaNode>;
  element?: SchemaNode;
  options?: SchemaNode[];
  entries?: Record<string, string>;
  values?: unknown[];
  format?: string;
}
interface SchemaNode {
  def: SchemaDef;
  description?: string | undefined;
  minValue?: number | null;
  maxValue?: number | null;
  isInt?: boolean;
  minLength?: number | null;
  maxLength?: number | null;
}

export const CONFIG_KEYS: readonly ConfigKey[] = listKeys();

export function sections(): string[] {
  return [...new Set(CONFIG_KEYS.map(({ section }) => section))];
}

/** `rtc.announcedAddress` → `VIREO_RTC_ANNOUNCED_ADDRESS`. */
export function envName(section: string, key: string): string {
  return `VIREO_${snake(section)}_${snake(key)}`;
}

function snake(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase();
}

function listKeys(): ConfigKey[] {
  const keys: ConfigKey[] = [];
  for (const [section, sectionNode] of shapeOf(configSchema)) {
    for (const [key, node] of shapeOf(sectionNode)) {
      const path = `${section}.${key}`;
      const { inner, defaultValue } = unwrap(node);
      keys.push({
        section,
        key,
        path,
        env: envName(section, key),
        kind: kindOf(inner),
        allowed: describe(inner),
        description: node.description ?? inner.description ?? '',
        default: defaultValue,
        secret: SECRETS.has(path),
      });
    }
  }
  return keys;
}

function shapeOf(schema: z.ZodType | SchemaNode): [string, SchemaNode][] {
  const { inner } = unwrap(schema as unknown as SchemaNode);
  return Object.entries(inner.def.shape ?? {});
}

function unwrap(node: SchemaNode): { inner: SchemaNode; defaultValue: unknown } {
  let inner = node;
  let defaultValue: unknown;
  while (inner.def.innerType) {
    if (inner.def.type === 'default') defaultValue = inner.def.defaultValue;
    inner = inner.def.innerType;
  }
  return { inner, defaultValue };
}

function kindOf({ def }: SchemaNode): KeyKind {
  if (def.type === 'array')
    return unwrap(def.element ?? { def }).inner.def.type === 'object' ? 'objects' : 'strings';
  if (def.type === 'boolean') return 'boolean';
  if (def.type === 'number') return 'number';
  const literals = def.options?.flatMap((option) => option.def.values ?? []) ?? def.values ?? [];
  return typeof literals[0] === 'number' ? 'number' : 'string';
}

function describe(node: SchemaNode): string {
  const { def } = node;
  switch (def.type) {
    case 'number':
      return `a ${node.isInt ? 'whole ' : ''}number from ${node.minValue} to ${node.maxValue}`;
    case 'boolean':
      return 'true or false';
    case 'enum':
      return oneOf(Object.values(def.entries ?? {}));
    case 'literal':
      return oneOf(def.values ?? []);
    case 'union':
      return (def.options ?? []).map(describe).join(' or ');
    case 'array': {
      const element = def.element ? unwrap(def.element).inner : undefined;
      return `a list of ${element?.def.type === 'object' ? 'objects {urls, username, credential}' : plural(element)}`;
    }
    case 'string':
      return describeText(node);
    default:
      return def.type;
  }
}

function describeText(node: SchemaNode): string {
  if (node.def.format === 'url') return 'a URL';
  if (node.def.format === 'ipv4') return 'an IPv4 address';
  if (node.def.format === 'ipv6') return 'an IPv6 address';
  return typeof node.minLength === 'number' ? `text of at least ${node.minLength} characters` : 'text';
}

function plural(node: SchemaNode | undefined): string {
  return node?.def.type === 'union' ? 'IP addresses' : 'texts';
}

function oneOf(values: readonly unknown[]): string {
  return values.length === 1 ? String(values[0]) : `one of ${values.join(', ')}`;
}
