import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { onTestFinished } from 'vitest';
import { main } from '../src/main.ts';
import { Terminal } from '../src/terminal/terminal.ts';

/** 2026-11-24 22:30:05 UTC: the default time of every command. */
export const NOW = 1_795_559_405;
export const UNKNOWN = 'CSAK7Q2M5X9R4T8W3Y6Z0ABC';

export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface World {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What the user types; `undefined` if there is no terminal. */
  readonly typed?: string | undefined;
  /** Unix seconds. */
  readonly now?: number;
  /** Resolves when the user presses Ctrl+C. */
  readonly interrupted?: Promise<void>;
  /** Gets all text as it is written. */
  readonly onWritten?: (text: string) => void;
  /** Why nothing can be written to stdout, such as `EPIPE`. */
  readonly stdoutFails?: string;
}

/** Runs a command in this process. */
export async function run(argv: readonly string[], world: World = {}): Promise<Result> {
  const written = { stdout: '', stderr: '' };
  const terminal = (name: 'stdout' | 'stderr') =>
    new Terminal({
      write: (text, callback) => {
        if (name === 'stdout' && world.stdoutFails !== undefined)
          return callback(Object.assign(new Error('it is full'), { code: world.stdoutFails }));
        written[name] += text;
        world.onWritten?.(text);
        callback();
      },
    });
  const stdin = new PassThrough();
  stdin.end(world.typed);
  const code = await main(argv, {
    stdout: terminal('stdout'),
    stderr: terminal('stderr'),
    stdin,
    env: world.env ?? {},
    isTTY: world.typed !== undefined,
    clock: () => world.now ?? NOW,
    untilInterrupted: () => world.interrupted ?? Promise.resolve(),
  });
  return { code, ...written };
}

/**
 * Runs commands with one store, and keeps all that they print.
 *
 * @param now Unix seconds. A store with its own clock, such as Redis, needs the time of
 *   test/support/now.ts.
 */
export function runner(env: NonNullable<World['env']>, now = NOW) {
  const printed: string[] = [];
  const runHere = async (line: string, world: Omit<World, 'env'> = {}): Promise<Result> => {
    const result = await run(line.split(' '), { now, ...world, env });
    printed.push(result.stdout, result.stderr);
    return result;
  };
  return {
    run: runHere,
    /** Runs a command with `--json` that must succeed, and returns its document. */
    json: async (line: string, world?: Omit<World, 'env'>) => {
      const { code, stdout, stderr } = await runHere(`${line} --json`, world);
      if (code !== 0) throw new Error(stderr);
      return JSON.parse(stdout);
    },
    /** How often something was printed. */
    count: (text: string): number => printed.join('').split(text).length - 1,
  };
}

export async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'countersign-cli-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}
