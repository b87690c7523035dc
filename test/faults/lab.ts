import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AccessKey, generateAccessKey } from '@countersign/server';
import { expect, onTestFinished } from 'vitest';
import { Traffic } from './traffic.ts';
import { judge, type Recovery, recovery, type Verdict } from './verdict.ts';

/** Times are scaled, so that a window passes while one looks. Clients tell whole seconds. */
const SCALE = { window: 2, ahead: 1, slack: 0.4 };

/**
 * Seconds for which clients without the echo wait after a birth: its floor, and the rest of a
 * second.
 */
export const FLOOR = SCALE.ahead + 2 * SCALE.slack + 1;

/** How often each fault is made: more in the nightly run. */
export const CYCLES = Number(process.env['FAULT_CYCLES'] ?? 1);

/**
 * A claim is given up after 400 ms; the rest is a machine on which everything here runs at once.
 */
const MOST_MILLISECONDS = 3_000;

export const AUDIENCE = 'video-api';
const VERIFIERS = 4;

/** Where a verifier finds its nonces: options of ioredis. */
type RedisAddress =
  | { readonly host: string; readonly port: number }
  | { readonly nodes: readonly { readonly host: string; readonly port: number }[] }
  | { readonly sentinels: readonly { readonly host: string; readonly port: number }[] };

export interface LabOptions {
  /** One for all verifiers, or one for each. */
  readonly redis: RedisAddress | readonly RedisAddress[];
  /** What is put to the test, and its options. */
  readonly store?: { readonly kind?: 'naive'; readonly [option: string]: unknown };
  readonly accessKeys?: number;
  /** Seconds: scaled if not given. */
  readonly window?: number;
}

export interface Lab {
  readonly traffic: Traffic;
  /** Lets the traffic go on. */
  run(seconds: number): Promise<void>;
  /** Whether verifiers were killed: then requests on their way get no answer. */
  readonly hasLostVerifiers: boolean;
  /** Kills all verifiers, lets something happen, and starts them again where they were. */
  restartVerifiers(meanwhile: () => Promise<void>): Promise<void>;
  /** Waits until clients are accepted, of all verifiers that they call. */
  untilServed(): Promise<void>;
  /** Ends the traffic, and reads the log. */
  end(): Promise<Verdict>;
  /** Of the log until now. */
  verdict(): Verdict;
  recovery(since: number): Recovery;
}

interface Verifiers {
  readonly ports: readonly number[];
  readonly accessKeys: readonly AccessKey[];
  /** The last warnings of each verifier, for a test that fails. */
  warnings(): string;
  restart(meanwhile: () => Promise<void>): Promise<void>;
}

/** Starts verifiers in processes of their own, until the test is over. */
export async function startVerifiers({
  redis,
  store = {},
  accessKeys: count = 2,
  window = SCALE.window,
}: LabOptions): Promise<Verifiers> {
  const accessKeys = Array.from({ length: count }, () => generateAccessKey({ subject: 'alice' }));
  const { ahead, slack } = SCALE;
  const settings = (index: number) => ({
    redis: Array.isArray(redis) ? redis[index % redis.length] : redis,
    accessKeys,
    audience: AUDIENCE,
    window,
    ahead,
    store: store.kind === 'naive' ? store : { slack, ...store },
  });
  let verifiers = await Promise.all(
    Array.from({ length: VERIFIERS }, (_, index) => startVerifier(settings(index))),
  );
  return {
    ports: verifiers.map(({ port }) => port),
    accessKeys,
    warnings: () =>
      verifiers.map(({ port, warnings }) => [port, ...warnings.slice(-5)].join('\n  ')).join('\n'),
    async restart(meanwhile) {
      await Promise.all(verifiers.map(({ kill }) => kill()));
      await meanwhile();
      verifiers = await Promise.all(
        verifiers.map(({ port }, index) => startVerifier({ ...settings(index), port })),
      );
    },
  };
}

/** Starts verifiers, and traffic to them, until the test is over. */
export async function openLab(options: LabOptions): Promise<Lab> {
  const { window, ahead } = SCALE;
  const { ports, accessKeys, warnings, restart } = await startVerifiers(options);
  const memory = window + ahead + 1;
  const traffic = new Traffic(ports, { audience: AUDIENCE, accessKeys, ahead, memory });
  let hasLostVerifiers = false;
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopped ??= traffic.stop();
    return stopped;
  };
  onTestFinished(stop);
  traffic.start();

  const lab: Lab = {
    traffic,
    run: (seconds) => sleep(seconds * 1000),
    get hasLostVerifiers() {
      return hasLostVerifiers;
    },
    restartVerifiers(meanwhile) {
      hasLostVerifiers = true;
      return restart(meanwhile);
    },
    async untilServed() {
      const since = performance.now();
      const isServed = () => {
        const served = traffic.log.filter(
          ({ at, status, sender }) => at >= since && status === 200 && sender !== 'replay',
        );
        return traffic.reachable.every(
          (index) => served.filter(({ verifier }) => verifier === index).length >= 5,
        );
      };
      while (!isServed()) {
        if (performance.now() - since > 30_000) {
          const { refused } = judge(traffic.log.filter(({ at }) => at >= since));
          throw new Error(`No client is served: ${JSON.stringify(refused)}\n${warnings()}`);
        }
        await sleep(20);
      }
    },
    async end() {
      await stop();
      return judge(traffic.log);
    },
    verdict: () => judge(traffic.log),
    recovery: (since) => recovery(traffic.log, since),
  };
  await lab.untilServed();
  return lab;
}

interface Verifier {
  readonly port: number;
  /** What it told its operator. */
  readonly warnings: readonly string[];
  kill(): Promise<void>;
}

async function startVerifier(settings: object): Promise<Verifier> {
  const child = fork(new URL('verifier.mjs', import.meta.url), {
    env: { ...process.env, SETTINGS: JSON.stringify(settings) },
    execArgv: [],
    stdio: ['ignore', 'inherit', 'ignore', 'ipc'],
  });
  const exit = once(child, 'exit');
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exit;
  };
  onTestFinished(kill);
  const warnings: string[] = [];
  const listening = new Promise<number>((resolve) => {
    child.on('message', ({ port, warning }: { port?: number; warning?: string }) => {
      if (port !== undefined) resolve(port);
      if (warning !== undefined) warnings.push(`${new Date().toISOString()} ${warning}`);
    });
  });
  const port = await Promise.race([
    listening,
    exit.then(() => Promise.reject(new Error('Cannot start a verifier: run tsc -b first'))),
  ]);
  return { port, warnings, kill };
}

/**
 * Makes faults as often as is asked for, in the middle of the traffic, and expects what is promised
 * of each: nothing accepted twice, nothing honest refused as a replay or without a word, and
 * every client served again.
 *
 * @param faults each returns once it is over
 */
export async function endure(
  lab: Lab,
  ...faults: readonly (() => Promise<void>)[]
): Promise<Verdict> {
  for (const fault of Array.from({ length: CYCLES }, () => faults).flat()) {
    await lab.run(1.5);
    const begun = performance.now();
    await fault();
    const since = performance.now();
    await lab.untilServed();
    await lab.run(FLOOR + 1);
    const { attempts, plainSeconds } = lab.recovery(since);
    const what = fault.name === '' ? '' : `, after ${fault.name}`;
    const { refused } = judge(lab.traffic.log.filter(({ at }) => at >= begun));
    // A fault that no client notices is none.
    if (fault !== nothing) expect(Object.keys(refused), `who was refused${what}`).not.toEqual([]);
    expect(attempts, `attempts of clients that echo${what}`).toBeLessThanOrEqual(2);
    expect(plainSeconds, `seconds without the echo${what}`).toBeLessThan(FLOOR + 2);
    expectPromise(lab.verdict());
    expect(lab.verdict().unanswered > 0, `no answer${what}`).toBe(lab.hasLostVerifiers);
  }
  return lab.end();
}

/** The fault that is none. */
export async function nothing(): Promise<void> {}

/** What holds whatever happens. */
export function expectPromise(verdict: Verdict): void {
  expect(verdict.doubles, 'accepted twice').toBe(0);
  expect(verdict.falseReplays, 'honest, refused as a replay').toBe(0);
  expect(verdict.unexplained, 'refused without a word on what would help').toEqual([]);
  expect(verdict.slowest503, 'milliseconds to a 503').toBeLessThan(MOST_MILLISECONDS);
  expect(verdict.accepted).toBeGreaterThan(100);
  expect(verdict.replays).toBeGreaterThan(100);
}
