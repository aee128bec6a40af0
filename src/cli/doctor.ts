/** `vireo doctor`: what this machine can do, and what to fix. */
import { Command } from 'commander';
import { loadConfig } from '../config/loadConfig.js';
import { CHECKS, type Finding } from './doctorChecks.js';
import { readVersion } from './version.js';

interface DoctorFlags {
  config?: string;
  json?: boolean;
}

const MARK: Record<Finding['status'], string> = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' };

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say what this machine can do (engines, codecs, providers, ports, TURN) and what to fix')
    .option('--config <file>', 'configuration file (default: vireo.yaml here, if there is one)')
    .option('--json', 'print one JSON document on stdout')
    .action(async (flags: DoctorFlags) => {
      const findings = await examine(flags.config);
      const failed = findings.filter(({ status }) => status === 'fail');
      if (flags.json === true) {
        const { version: node, platform, arch } = process;
        const report = { ok: failed.length === 0, version: readVersion(), node, platform, arch, findings };
        process.stdout.write(`${JSON.stringify(report)}\n`);
      } else process.stdout.write(findings.map(line).join(''));
      if (failed.length > 0) {
        throw new Error(`doctor: ${failed.map(({ check, detail }) => `${check}: ${detail}`).join('; ')}`);
      }
    });
}

/** Runs every check. One that breaks is a finding of its own. */
export async function examine(configFile?: string): Promise<Finding[]> {
  const { config } = await loadConfig({ file: configFile });
  const findings: Finding[] = [];
  for (const [name, check] of CHECKS) {
    try {
      findings.push(...(await check(config)));
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error);
      findings.push({ check: name, status: 'fail', detail, fix: 'run `npm run setup`' });
    }
  }
  return findings;
}

function line({ check, status, detail, fix }: Finding): string {
  const advice = fix === null ? '' : `\n${' '.repeat(26)}→ ${fix}`;
  return `${MARK[status]}  ${check.padEnd(18)}  ${detail}${advice}\n`;
}
