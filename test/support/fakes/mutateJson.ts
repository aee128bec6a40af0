type Random = (below: number) => number;

const EXTREMES: readonly unknown[] = [
  null,
  undefined,
  true,
  0,
  -1,
  1.5,
  1e308,
  2 ** 32,
  '',
  'x',
  '\u0000',
  '💥'.repeat(50),
  'A'.repeat(2_000),
  '__proto__',
  [],
  {},
  [[[[]]]],
  { toString: 1 },
  new Uint8Array([1, 2, 3]),
];

/** A copy with one to four places changed: values replaced, keys dropped, renamed or added, lists grown. */
export function mutateJson(value: unknown, random: Random): unknown {
  let copy = structuredClone(value);
  for (let i = 1 + random(4); i > 0; i--) copy = mutateOnce(copy, random);
  return copy;
}

function mutateOnce(value: unknown, random: Random): unknown {
  const isObject = typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
  // Mostly somewhere inside.
  if (!isObject || random(8) === 0) return extreme(random);
  if (Array.isArray(value)) return mutateList(value, random);
  const object = value as Record<string, unknown>;
  const keys = Object.keys(object);
  const key = keys[random(Math.max(1, keys.length))] ?? 'x';
  switch (random(6)) {
    case 0:
      delete object[key];
      break;
    case 1:
      object[`${key}${random(10)}`] = object[key];
      break;
    case 2:
      object[['constructor', 'extra', 'length', 'then'][random(4)] ?? 'x'] = extreme(random);
      break;
    default:
      object[key] = mutateOnce(object[key], random);
  }
  return object;
}

function extreme(random: Random): unknown {
  return structuredClone(EXTREMES[random(EXTREMES.length)]);
}

function mutateList(list: unknown[], random: Random): unknown[] {
  const at = random(Math.max(1, list.length));
  if (random(4) === 0) return Array.from({ length: random(200) }, () => structuredClone(list[at]) ?? null);
  list[at] = mutateOnce(list[at], random);
  return list;
}
