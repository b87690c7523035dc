#!/usr/bin/env node
import { main } from './main.ts';
import { Terminal } from './terminal/terminal.ts';

/** What is not listened to ends the process: Terminal reports it to the command. */
function terminal(stream: NodeJS.WriteStream): Terminal {
  return new Terminal(stream.on('error', () => undefined));
}

const STORE_WARNING = /^COUNTERSIGN_(?:KEY|CALLBACK_QUEUE)_/;

const stderr = terminal(process.stderr);

// Node would write what these hold as it is.
process.removeAllListeners('warning').on('warning', (warning: Error & { code?: string }) => {
  const { code, name, message } = warning;
  // What went wrong with a store is the error that the command prints.
  if (!STORE_WARNING.test(code ?? '')) void stderr.print(`${name}: ${message}\n`);
});
process.on('uncaughtException', async (error) => {
  await stderr.print(`${error.stack}\n`);
  process.exit(1);
});

process.exitCode = await main(process.argv.slice(2), {
  stdout: terminal(process.stdout),
  stderr,
  stdin: process.stdin,
  env: process.env,
  isTTY: process.stdin.isTTY && process.stderr.isTTY,
  clock: () => Date.now() / 1000,
  untilInterrupted: () =>
    new Promise((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    }),
});
