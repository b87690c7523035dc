import { setTimeout as sleep } from 'node:timers/promises';
import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../operator-warning.ts';
import { withoutCommand } from '../without-command.ts';
import {
  lastFailure,
  NOT_CONNECTED,
  reasonOf,
  rememberFailures,
  unreachableCause,
  whenReady,
} from './reachable.ts';
import { isRefusal } from './redis-permissions.ts';
import { NOEVICTION, type SelfTest, testRedis } from './self-test.ts';

export interface CheckedRedisOptions {
  /** What the store keeps there, as its messages say it. */
  readonly what: string;
  /** What the codes of its warnings are made of. */
  readonly store: 'NONCE_STORE' | 'KEY_STORE' | 'ONCE_STORE' | 'CALLBACK_QUEUE';
  readonly warnings: OperatorWarnings;
  /** What an unreachable Redis means for callers, as the warning says it. */
  readonly consequence: string;
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
  /** Called with each test that Redis answered. */
  readonly whenTested?: (test: SelfTest) => void;
  /** Makes the error that says that Redis is not fit. */
  readonly toError?: (message: string) => Error;
  /** Milliseconds between two tests of a connection that stays; 15,000 if not given. */
  readonly testEvery?: number;
}

/** An operator may change the eviction policy at any time; `INFO` costs nothing at this pace. */
const TEST_EVERY = 15_000;

/** Milliseconds for which Redis gives no answer before a warning says so: a connection may be made again. */
const DOWN_AFTER = 1_000;

/**
 * A store's own connection, on which the store relies only once its Redis was found fit: each
 * connection is tested again, since it may lead to another Redis, or to one that was set up again.
 * One that stays is tested now and then, since Redis can be set up again while it runs.
 */
export class CheckedRedis {
  readonly redis: Redis | Cluster;
  readonly #options: CheckedRedisOptions;
  #hasReplicas = false;
  #maxMemory = Number.POSITIVE_INFINITY;
  #connection: Promise<unknown> | undefined;
  /** Settles with the test of the present connection. */
  #test: Promise<void> | undefined;
  #isTesting = false;
  #isFit = false;
  /** Whether the last test found settings that an operator must change. */
  #isUnfit = false;
  readonly #beat: NodeJS.Timeout;
  /** Since when Redis has given no answer, by `performance.now()`; `undefined` while it does. */
  #downSince: number | undefined = performance.now();
  #isDown = false;
  #closed = false;

  /** @param redis the store's own connection, which this closes */
  constructor(redis: Redis | Cluster, options: CheckedRedisOptions) {
    this.#options = options;
    this.redis = redis;
    rememberFailures(redis);
    redis.on('ready', () => this.#testAgain());
    redis.on('close', () => {
      this.#untested();
      this.#isUnfit = false;
      this.#recordDown(lastFailure(redis) ?? NOT_CONNECTED);
    });
    redis.on('+node', () => this.#testMeanwhile());
    const { testEvery = TEST_EVERY } = options;
    this.#beat = setInterval(() => {
      if (this.isFit) this.#testMeanwhile();
      else this.retest();
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

  recordReplicas(count: number): void {
    if (count > 0) this.#hasReplicas = true;
  }

  /**
   * Waits longer than questions do, until Redis can be relied on. A connection that breaks on the way
   * is no reason to give up: while a fleet starts, or a cluster fails over, some do.
   *
   * @param seconds for how long to try
   * @param look what else must succeed
   * @param isFinal whether waiting cannot mend an error
   * @throws Error that says what is wrong, and what to do
   * @throws RangeError if `seconds` is not from 0 to 3,600
   */
  async ready(
    seconds: number,
    look?: () => Promise<unknown>,
    isFinal: (error: unknown) => boolean = () => false,
  ): Promise<void> {
    if (!(seconds >= 0 && seconds <= 3_600))
      throw new RangeError(
        `Cannot wait for Redis: expected 0 to 3,600 seconds, got ${quote(seconds)}`,
      );
    const end = performance.now() + seconds * 1000;
    for (;;) {
      try {
        await this.connected();
        await look?.();
        return;
      } catch (error) {
        this.checkOpen();
        const reason = await this.explain(error);
        // Settings do not change by waiting.
        if (this.#isUnfit || isFinal(reason) || !(performance.now() < end)) throw reason;
      }
      await sleep(20);
    }
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
    const isTesting = this.#isTesting && this.#test !== undefined;
    if (!this.#isFit && this.redis.status === 'ready' && !isTesting) this.#testAgain();
  }

  /** Tests a connection over which a command had no answer. */
  doubt(): void {
    if (this.#isFit) this.#testMeanwhile();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.warnings.close();
    clearInterval(this.#beat);
    this.redis.disconnect();
  }

  /** Questions go on meanwhile; once it has failed they wait for the next test, and say why. */
  #testMeanwhile(): void {
    this.#judge().catch(() => {
      // A test that callers wait for decides by itself.
      if (!this.#isTesting) this.#untested();
    });
  }

  #untested(): void {
    this.#isFit = false;
    this.#test = undefined;
  }

  #testAgain(): void {
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
    const { what, policies = NOEVICTION, permissions, warnings, store, toError } = this.#options;
    const ask = async (): Promise<SelfTest> => {
      const account = await testRedis(this.redis, policies);
      const hasReplicas = this.#hasReplicas || account.replicas > 0;
      // What is refused comes first: without it Redis tells nothing else.
      const refusal = await permissions(this.redis, hasReplicas);
      return { ...account, flaw: refusal ?? account.flaw };
    };
    const test = await ask().catch((error) => {
      // Another Redis may answer next.
      this.#isUnfit = false;
      this.#recordDown(reasonOf(error));
      throw withoutCommand(error);
    });
    this.#recordUp();
    this.#options.whenTested?.(test);
    const { flaw, replicas, maxMemory } = test;
    this.#isUnfit = flaw !== undefined;
    if (flaw !== undefined) {
      // Callers are told nothing but that they should try again: the operator must hear of it.
      const message = `Redis is not fit for ${what}: ${flaw}`;
      warnings.begin(`COUNTERSIGN_${store}_UNFIT`, { message });
      throw toError?.(message) ?? new Error(message);
    }
    warnings.end(`COUNTERSIGN_${store}_UNFIT`);
    this.recordReplicas(replicas);
    this.#maxMemory = maxMemory;
  }

  /** Records that Redis gave no answer. If that lasts, the operator hears of it, whether or not a request comes. */
  #recordDown(reason: string): void {
    const now = performance.now();
    this.#downSince ??= now;
    // A connection that stays, and carries nothing, says so only to those who ask.
    if (this.redis.status === 'ready') setTimeout(() => this.retest(), DOWN_AFTER).unref();
    if (!(now - this.#downSince >= DOWN_AFTER)) return;
    this.#isDown = true;
    const { what, store, consequence, warnings } = this.#options;
    const message = `Cannot reach Redis for ${what}: ${reason}. ${consequence} until it answers`;
    const cause = unreachableCause(reason);
    warnings.begin(`COUNTERSIGN_${store}_UNREACHABLE`, { message, cause });
  }

  #recordUp(): void {
    this.#downSince = undefined;
    // What else has begun that condition ends it.
    if (this.#isDown) this.#options.warnings.end(`COUNTERSIGN_${this.#options.store}_UNREACHABLE`);
    this.#isDown = false;
  }
}
