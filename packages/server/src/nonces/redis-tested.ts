import { once } from 'node:events';
import type { Cluster, Redis } from 'ioredis';
import { duplicate } from '../redis-connection.ts';
import { testRedis } from '../redis-self-test.ts';
import { withoutCommand } from '../store-failed.ts';

/** A connection of the store's own, that is relied on only once its Redis was found fit for nonces: anew each time that it was made. */
export class TestedRedis {
  readonly redis: Redis | Cluster;
  readonly #whenFit: () => void;
  #hasReplicas = false;
  #maxMemory = Number.POSITIVE_INFINITY;
  #connection: Promise<unknown> | undefined;
  /** Settles with the test of the present connection. */
  #test: Promise<void> | undefined;
  #isTesting = false;
  #isFit = false;
  #warning: string | undefined;
  #closed = false;

  /**
   * @param redis what the connection is made like
   * @param timeout milliseconds
   * @param whenFit called after each test that was passed
   */
  constructor(redis: Redis | Cluster, timeout: number, whenFit: () => void) {
    this.#whenFit = whenFit;
    this.redis = duplicate(redis, timeout);
    // Errors reach whoever claims; without a listener ioredis would print them.
    this.redis.on('error', () => undefined);
    this.redis.on('ready', () => this.#testAnew());
    this.redis.on('close', () => this.#untested());
    this.redis.on('+node', () => void this.#judge().catch(() => this.#untested()));
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
   * Waits for a connection that is being made, and tested.
   *
   * @throws Error where Redis cannot be relied on
   */
  async connected(): Promise<void> {
    if (this.#isFit && this.redis.status === 'ready') return;
    if (this.#closed) throw new Error('Cannot claim: the nonce store is closed');
    if (this.#test === undefined) {
      this.#connection ??= once(this.redis, 'ready')
        .catch((error) => {
          throw withoutCommand(error);
        })
        .finally(() => {
          this.#connection = undefined;
        });
      await this.#connection;
    }
    await this.#test;
  }

  /** Tests a connection again that has failed its test. */
  retest(): void {
    if (!this.#isFit && this.redis.status === 'ready' && !this.#isTesting) this.#testAnew();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.redis.disconnect();
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
        this.#whenFit();
      });
    this.#isTesting = true;
    this.#test = test;
    // Whoever claims hears of it.
    test.catch(() => undefined);
  }

  /** @throws Error where Redis cannot be relied on */
  async #judge(): Promise<void> {
    const { flaw, replicas, maxMemory } = await testRedis(this.redis);
    if (flaw !== undefined) throw this.#warned(`Redis is not fit for nonces: ${flaw}`);
    this.noteReplicas(replicas);
    this.#maxMemory = maxMemory;
  }

  /** Callers are told nothing but that they should try again: whoever runs the server must hear of it. */
  #warned(message: string): Error {
    if (message !== this.#warning)
      process.emitWarning(message, { code: 'COUNTERSIGN_NONCE_STORE' });
    this.#warning = message;
    return new Error(message);
  }
}
