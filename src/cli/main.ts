import { Command, CommanderError } from 'commander';
import { readVersion } from './version.js';

interface Subcommand {
  name: string;
  /** Shown by `vireo --help`, for which no command's modules are loaded. */
  summary: string;
  load: () => Promise<Command>;
}

const SUBCOMMANDS: readonly Subcommand[] = [
  {
    name: 'serve',
    summary: 'start the relay and print the join URL',
    load: async () => (await import('./serve.js')).serveCommand(),
  },
  {
    name: 'restore',
    summary: 'restore a video file',
    load: async () => (await import('./restore.js')).restoreCommand(),
  },
  {
    name: 'evaluate',
    summary: 'degrade reference clips as a call would, restore them, and measure',
    load: async () => (await import('./evaluate.js')).evaluateCommand(),
  },
  {
    name: 'bench',
    summary: 'measure stage times, tracks per device and added latency',
    load: async () => (await import('./bench.js')).benchCommand(),
  },
  {
    name: 'doctor',
    summary: 'say what this machine can do, and what to fix',
    load: async () => (await import('./doctor.js')).doctorCommand(),
  },
  {
    name: 'token',
    summary: 'print a token that lets one person join one room',
    load: async () => (await import('./token.js')).tokenCommand(),
  },
];

/** Runs the command line; never rejects. Sets the exit code: 0, or 1 with a one-line reason on stderr. */
export async function main(argv: readonly string[]): Promise<void> {
  try {
    const program = await createProgram(argv.slice(2));
    await program.parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) {
      // commander has said on stderr what was wrong, or printed the help that was asked for.
      process.exitCode = error.exitCode === 0 ? 0 : 1;
      return;
    }
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(reasonLine(message));
    process.exitCode = 1;
  }
}

/** Errors are one line, whatever they were made of. */
function reasonLine(text: string): string {
  return `vireo: ${text.replace(/\s*\n\s*/g, ' ').trim()}\n`;
}

async function createProgram(args: readonly string[]): Promise<Command> {
  const program = new Command('vireo')
    .description('A self-hosted WebRTC relay that restores the video it forwards.')
    .version(readVersion(), '-V, --version')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ outputError: (text, write) => write(reasonLine(text.replace(/^error: /, ''))) })
    .exitOverride();
  const wanted = args.find((arg) => !arg.startsWith('-') && arg !== 'help');
  for (const { name, summary, load } of SUBCOMMANDS) {
    const command = name === wanted ? await load() : new Command(name).description(summary);
    program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}
