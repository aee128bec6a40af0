import { stringify } from 'yaml';
import { CONFIG_KEYS, type ConfigKey, sections } from './keys.js';

const WIDTH = 100;
const HEADER = `# Vireo's configuration, every key with its default. Copy it to vireo.yaml and change what you need; what
# you leave out keeps its default. Each key can also be set in the environment: http.port is
# VIREO_HTTP_PORT, rtc.announcedAddress is VIREO_RTC_ANNOUNCED_ADDRESS (lists separated by commas).
# Flags of \`vireo serve\` win over the environment, the environment over this file.
`;

/** The text of `vireo.example.yaml`. Keys without a default are commented out. */
export function renderExample(): string {
  const parts = sections().map((section) => {
    const keys = CONFIG_KEYS.filter((key) => key.section === section);
    return `${section}:\n${keys.map(renderKey).join('')}`;
  });
  return `${HEADER}\n${parts.join('\n')}`;
}

/** A Markdown table of every key, for the operator's guide. */
export function renderReference(): string {
  const rows = CONFIG_KEYS.map((key) => {
    const cells = [
      `\`${key.path}\``,
      `\`${key.env}\``,
      escapePipes(key.allowed),
      defaultText(key),
      escapePipes(key.description),
    ];
    return `| ${cells.join(' | ')} |`;
  });
  return ['| key | environment | value | default | |', '| --- | --- | --- | --- | --- |', ...rows, ''].join(
    '\n',
  );
}

function renderKey(key: ConfigKey): string {
  const comment = wrap(`${key.description} (${key.allowed})`).map((line) => `  # ${line}\n`);
  const value = key.default === undefined ? `  # ${key.key}:\n` : `  ${key.key}: ${flow(key.default)}\n`;
  return comment.join('') + value;
}

function flow(value: unknown): string {
  return stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}

function defaultText(key: ConfigKey): string {
  return key.default === undefined ? '' : `\`${flow(key.default)}\``;
}

function escapePipes(text: string): string {
  return text.replaceAll('|', '\\|');
}

function wrap(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > WIDTH) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return line === '' ? lines : [...lines, line];
}
