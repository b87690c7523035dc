#!/usr/bin/env node
import { main } from './main.ts';

/** A stream that never throws, and tells of what it could not write: of files at once, of pipes later. */
function sink(stream: NodeJS.WriteStream) {
  // What is not listened to ends the process.
  stream.on('error', () => undefined);
  return {
    write: (text: string) =>
      new Promise<void>((resolve, reject) => {
        stream.write(text, (error) => (error ? reject(error) : resolve()));
      }).catch((error: Error) => error),
  };
}

// A command says itself what went wrong: a process warning of the store would say it once more.
process.removeAllListeners('warning');

process.exitCode = await main(process.argv.slice(2), {
  stdout: sink(process.stdout),
  stderr: sink(process.stderr),
  stdin: process.stdin,
  env: process.env,
  isTTY: process.stdin.isTTY && process.stderr.isTTY,
  clock: () => Date.now() / 1000,
  untilInterrupted: () =>
    new Promise((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
    }),
});
