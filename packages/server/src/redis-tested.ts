import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import { isRefusal } from './redis-permissions.ts';
import { rememberFailures, whenReady } from './redis-reachable.ts';
import { NOEVICTION, type SelfTest, testRedis } from './redis-self-test.ts';
import { withoutCommand } from './store-failed.ts';

export interface TestedRedisOptions {
  /** What the store keeps there, as its messages say it. */
  readonly what: string;
  /** The code of its process warnings. */
  readonly warning: string;
  /** Milliseconds for which each question waits for a connection. */
  readonly timeout: number;
  /** The eviction policies under which what the store puts there stays; `noeviction` if not given. */
  readonly policies?: RegExp;
  /**
   * Tells what the user of the store may not do, but must, if there is anything.
   *
   * @param hasReplicas whether replicas were ever seen
   */
  readonly permissions: (
    redis: Redis | Cluster,
    hasReplicas: boolean,
  ) => Promise<string | undefined>;
  /** Called after each test that was passed. */
  readonly whenFit?: () => void;
  /** Makes the error that says that Redis is not fit. */
  readonly toError?: (message: string) => Error;
  /** Milliseconds between two tests of a connection that stays; 15,000 if not given. */
  readonly testEvery?: number;
}

/** An operator may change the eviction policy at any time; `INFO` costs nothing at this pace. */
const TEST_EVERY = 15_000;

/**
 * A store's own connection, on which the store relies only once its Redis was found fit: each
 * connection is tested again, since it may lead to another Redis, or to one that was set up again.
 * One that stays is tested now and then, since Redis can be set up again while it runs.
 */
export class TestedRedis {
  readonly redis: Redis | Cluster;
  readonly #options: TestedRedisOptions;
  #hasReplicas = false;
  #maxMemory = Number.POSITIVE_INFINITY;
  #connection: Promise<unknown> | undefined;
  /** Settles with the test of the present connection. */
  #test: Promise<void> | undefined;
  #isTesting = false;
  #isFit = false;
  readonly #beat: NodeJS.Timeout;
  #warning: string | undefined;
  #closed = false;

  /** @param redis the store's own connection, which this closes */
  constructor(redis: Redis | Cluster, options: TestedRedisOptions) {
    this.#options = options;
    this.redis = redis;
    rememberFailures(redis);
    redis.on('ready', () => this.#testAnew());
    redis.on('close', () => this.#untested());
    redis.on('+node', () => this.#testMeanwhile());
    const { testEvery = TEST_EVERY } = options;
    this.#beat = setInterval(() => {
      if (this.isFit) this.#testMeanwhile();
    }, testEvery).unref();
  }

  /** Whether the present connection has passed its test. */
  get isFit(): boolean {
    return this.#isFit;
  }

  /** Whether replicas were ever seen: from then on they are waited for, since the next master may have none and not know what it lacks. */
  get hasReplicas(): boolean {
    return this.#hasReplicas;
  }

  /** Bytes that a master of this Redis may use, as it told last. */
  get maxMemory(): number {
    return this.#maxMemory;
  }

  noteReplicas(count: number): void {
    if (count > 0) this.#hasReplicas = true;
  }

  /**
   * Waits longer than questions do, until Redis can be relied on.
   *
   * @param seconds for how long to wait for a connection
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(seconds: number): Promise<void> {
    if (!(seconds >= 0 && seconds <= 3_600))
      throw new RangeError(
        `Cannot wait for Redis: expected 0 to 3,600 seconds, got ${quote(seconds)}`,
      );
    const end = performance.now() + seconds * 1000;
    while (!this.#closed && this.redis.status !== 'ready' && performance.now() < end)
      await sleep(20);
    await this.connected();
  }

  /** @throws Error if the store is closed */
  checkOpen(): void {
    if (this.#closed)
      throw new Error(`Cannot use Redis for ${this.#options.what}: the store is closed`);
  }

  /**
   * Waits for a connection that is being made, and tested. One that has failed its test is tested
   * again.
   *
   * @throws Error where Redis cannot be relied on
   */
  async connected(): Promise<void> {
    this.checkOpen();
    if (this.#isFit && this.redis.status === 'ready') return;
    if (this.redis.status !== 'ready') {
      this.#connection ??= whenReady(this.redis, this.#options.timeout).finally(() => {
        this.#connection = undefined;
      });
      await this.#connection;
    }
    this.retest();
    await this.#test;
  }

  /**
   * Why a command failed: if the user of the store was not allowed to do something, the test tells
   * what it was, and how to allow it.
   */
  async explain(error: unknown): Promise<unknown> {
    if (!isRefusal(error) || this.#closed) return error;
    if (!this.#isTesting) this.#untested();
    return this.connected().then(
      () => error,
      (unfit) => unfit,
    );
  }

  /** Tests a connection again that has failed its test. */
  retest(): void {
    if (!this.#isFit && this.redis.status === 'ready' && !this.#isTesting) this.#testAnew();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#beat);
    this.redis.disconnect();
  }

  /** Questions go on meanwhile; once it has failed they wait for the next test, and say why. */
  #testMeanwhile(): void {
    this.#judge().catch(() => this.#untested());
  }

  #untested(): void {
    this.#isFit = false;
    this.#test = undefined;
  }

  #testAnew(): void {
    this.#isFit = false;
    const test = this.#judge()
      .finally(() => {
        this.#isTesting = false;
      })
      .then(() => {
        if (this.#test !== test) return;
        this.#isFit = true;
        this.#options.whenFit?.();
      });
    this.#isTesting = true;
    this.#test = test;
    // Whoever asks hears of it.
    test.catch(() => undefined);
  }

  /** @throws Error where Redis cannot be relied on */
  async #judge(): Promise<void> {
    const { what, policies = NOEVICTION, permissions } = this.#options;
    const test = async (): Promise<SelfTest> => {
      const account = await testRedis(this.redis, policies);
      const hasReplicas = this.#hasReplicas || account.replicas > 0;
      // What is refused comes first: without it Redis tells nothing else.
      const refusal = await permissions(this.redis, hasReplicas);
      return { ...account, flaw: refusal ?? account.flaw };
    };
    const { flaw, replicas, maxMemory } = await test().catch((error) => {
      throw withoutCommand(error);
    });
    if (flaw !== undefined) throw this.#unfit(`Redis is not fit for ${what}: ${flaw}`);
    this.#warning = undefined;
    this.noteReplicas(replicas);
    this.#maxMemory = maxMemory;
  }

  /** Callers are told nothing but that they should try again: whoever runs the server must hear of it. */
  #unfit(message: string): Error {
    const { warning: code, toError } = this.#options;
    if (message !== this.#warning) process.emitWarning(message, { code });
    this.#warning = message;
    return toError?.(message) ?? new Error(message);
  }
}
