import { type ChildProcess, fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * A server that is killed when the test process ends, whichever way that ends, and its folder
 * removed.
 */
export interface GuardedServer {
  readonly pid: number;
  /** Kills it, or ends it as it is told to, and waits until it is gone. */
  stop(end?: () => void): Promise<void>;
}

const READY_WITHIN = 30_000;

/**
 * Starts a server and waits until it answers.
 *
 * @param name of it, to say that it does not start
 * @param command its program and arguments, run in a new folder
 * @param ask rejects until the server is ready
 */
export async function startGuarded(
  name: string,
  command: readonly string[],
  ask: () => Promise<unknown>,
): Promise<GuardedServer> {
  const guard = fork(
    new URL('guard.mjs', import.meta.url),
    command,
    // A process group of its own: Ctrl+C is for the tests; the guard goes when they are gone.
    { detached: true, execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] },
  );
  const log = collect(guard);
  const message = once(guard, 'message').then(([{ pid }]) => pid as number);
  const exit = once(guard, 'exit').then(() => undefined);
  const pid = await Promise.race([message, exit]);
  if (pid === undefined) throw new Error(`Cannot start ${name}: ${log()}`);
  try {
    await untilReady(guard, ask);
  } catch (cause) {
    if (guard.connected) guard.disconnect();
    throw new Error(`Cannot start ${name}: ${log()}`, { cause });
  }
  letGo(guard);

  return {
    pid,
    async stop(end = () => guard.disconnect()) {
      if (!guard.connected) return;
      guard.ref();
      const gone = once(guard, 'exit');
      end();
      await gone;
    },
  };
}

/**
 * Below the ports that systems give to outgoing connections, of which the tests beside open
 * thousands.
 */
const PORTS = { first: 15_000, count: 17_000 };

/** A loopback port on which nothing listens. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.first + randomInt(PORTS.count);
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** The last of what a process printed, to say why it did not start. */
function collect(child: ChildProcess): () => string {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text = (text + chunk).slice(-2_000);
    });
  }
  return () => text;
}

async function untilReady(guard: ChildProcess, ask: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + READY_WITHIN;
  for (;;) {
    // Another process may answer on its port.
    if (guard.exitCode !== null) throw new Error('It has ended');
    try {
      await ask();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await sleep(10);
  }
}

/** A forgotten stop() must not keep the test process alive; its end stops the server. */
function letGo(guard: ChildProcess): void {
  guard.unref();
  guard.channel?.unref();
  for (const stream of [guard.stdout, guard.stderr]) stream?.destroy();
}
