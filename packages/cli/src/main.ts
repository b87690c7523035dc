import { quote } from '@countersign/shared';
import { type Command, CommanderError } from 'commander';
import { commandOf } from './lib/command-tree.ts';
import { codeOf, FoundError, UsageError, usageErrorOf } from './lib/errors.ts';
import { buildProgram } from './program.ts';
import type { Io } from './terminal/io.ts';
import { Output } from './terminal/output.ts';
import { escapeLine } from './terminal/terminal.ts';

export type { Io } from './terminal/io.ts';

/**
 * Runs one command.
 *
 * @param argv the arguments after the name of the program
 * @param io the streams, environment and clock of the command; it uses nothing else of the process
 * @returns the exit code: 0 done, 1 the operation failed, 2 wrong usage
 */
export async function main(argv: readonly string[], io: Io): Promise<number> {
  const output = new Output(io, false);
  let printed = Promise.resolve();
  const program = buildProgram(io, (text) => {
    printed = printed.then(() => output.data(undefined, text));
  });
  // The help command of commander knows only the first level of commands.
  const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : argv;
  try {
    if (words !== argv) checkCommand(program, argv.slice(1));
    await program.parseAsync(words, { from: 'user' });
    return 0;
  } catch (error) {
    if (!(error instanceof CommanderError)) return report(error as Error, argv, io);
    if (error.exitCode === 0)
      return await printed.then(
        () => 0,
        (failure) => report(failure, argv, io),
      );
    // A group without a command: commander has printed the help of the group.
    if (error.code === 'commander.help') return 2;
    return report(usageErrorOf(error, commandOf(program, argv)), argv, io);
  }
}

/** @throws UsageError if `help` names no command */
function checkCommand(program: Command, words: readonly string[]): void {
  const names = words.filter((word) => !word.startsWith('-'));
  const { place } = commandOf(program, names);
  if (place !== [program.name(), ...names].join(' '))
    throw new UsageError(`Unknown command ${quote(names.join(' '), 200)}; see ${place} --help`);
}

/**
 * Prints an error: one line for people, and with `--json` a document for programs.
 *
 * @returns the exit code
 */
function report(error: Error, argv: readonly string[], io: Io): number {
  const code = codeOf(error);
  const { message } = error;
  if (argv.includes('--json') && !(error instanceof FoundError))
    void io.stdout.print(`${JSON.stringify({ error: { code, message } }, undefined, 2)}\n`);
  void io.stderr.print(`${escapeLine(message)}\n`);
  if (io.env['DEBUG']) void io.stderr.print(`${stackOf(error)}\n`);
  return error instanceof UsageError ? 2 : 1;
}

function stackOf(error: Error): string {
  const { stack = '', cause } = error;
  return cause instanceof Error ? `${stack}\nCaused by ${stackOf(cause)}` : stack;
}
