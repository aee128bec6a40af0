/** `vireo token`: prints a join token for a relay with `auth.secret`. */
import { Command } from 'commander';
import { loadConfig } from '../config/loadConfig.js';
import { VireoError } from '../errors.js';
import { signJoinToken } from '../signaling/joinToken.js';
import { participantNameSchema, roomNameSchema } from '../signaling/messages.js';

interface TokenFlags {
  room: string;
  name: string;
  ttl: string;
  config?: string;
  json?: boolean;
}

const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400 };

export function tokenCommand(): Command {
  return new Command('token')
    .description('print a token that lets one person join one room (needs auth.secret)')
    .requiredOption('--room <room>', 'room it is for')
    .requiredOption('--name <name>', 'name it is for')
    .option('--ttl <time>', 'how long it is good for: 90s, 30m, 1h, 7d', '1h')
    .option('--config <file>', 'configuration file (default: vireo.yaml here, if there is one)')
    .option('--json', 'print one JSON document on stdout')
    .action(async (flags: TokenFlags) => {
      const token = await createToken(flags);
      const { room, name } = flags;
      process.stdout.write(flags.json === true ? `${JSON.stringify({ token, room, name })}\n` : `${token}\n`);
    });
}

/** @throws VireoError that names the flag or key at fault */
export async function createToken({ room, name, ttl, config: file }: TokenFlags): Promise<string> {
  const ttlSeconds = parseDuration(ttl);
  const grant = {
    room: check('--room', roomNameSchema, room),
    name: check('--name', participantNameSchema, name),
  };
  const { config } = await loadConfig({ file });
  if (config.auth.secret === undefined) {
    throw new VireoError(
      'config-invalid',
      'auth.secret: is not set (VIREO_AUTH_SECRET or the configuration file)',
    );
  }
  return signJoinToken(config.auth.secret, grant, ttlSeconds);
}

/** Seconds in `90s`, `30m`, `1h`, `7d`. */
export function parseDuration(text: string): number {
  const [, digits, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const seconds = Number(digits) * (UNIT_SECONDS[unit ?? ''] ?? Number.NaN);
  if (!(seconds > 0))
    throw new VireoError('bad-request', `--ttl: "${text}" is no time such as 90s, 30m, 1h or 7d`);
  return seconds;
}

function check(flag: string, schema: typeof roomNameSchema, value: string): string {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new VireoError(
    'bad-request',
    `${flag}: "${value}": ${parsed.error.issues[0]?.message ?? 'is not valid'}`,
  );
}
