#!/usr/bin/env node
import { main } from './main.ts';
import { Terminal } from './terminal/terminal.ts';

/** An `error` event without a listener ends the process. Terminal reports errors itself. */
function terminal(stream: NodeJS.WriteStream): Terminal {
  return new Terminal(stream.on('error', () => undefined));
}

const STORE_WARNING = /^COUNTERSIGN_(?:KEY|CALLBACK_QUEUE)_/;

const stderr = terminal(process.stderr);

// Node would print these unescaped, control characters included.
process.removeAllListeners('warning').on('warning', (warning: Error & { code?: string }) => {
  const { code, name, message } = warning;
  // The command already prints the failure of a store as its error.
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
