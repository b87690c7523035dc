import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../../lib/operator-warning.ts';
import { duplicate } from '../../lib/redis/own-connection.ts';
import { whenReady } from '../../lib/redis/reachable.ts';
import { formatRefusals, isRefusal, lacksOf, userOf } from '../../lib/redis/redis-permissions.ts';
import type { StoreHistory } from '../store-history.ts';

/** Milliseconds. */
const ASK_EVERY = 1_000;

/** The change before; this change, its number and since when the store is what it is, or nothing if it is not counted yet; the name of the record, if it is of one. */
const MESSAGE = /^(\S*) (\S*) (\d*) (\d*) (.*)$/s;

/** What all servers tell each other: that a record has changed. */
export class RedisChanges {
  readonly channel: string;
  readonly #subscriber: Redis | Cluster;
  readonly #beat: NodeJS.Timeout;
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #warnings: OperatorWarnings;
  #isSubscribed = false;

  /**
   * @param redis what a connection of its own is made like
   * @param timeout milliseconds
   * @param history is told of the changes that are counted
   */
  constructor(
    redis: Redis | Cluster,
    channel: string,
    timeout: number,
    history: Pick<StoreHistory, 'recordChange'>,
    warnings: OperatorWarnings,
  ) {
    this.#warnings = warnings;
    this.channel = channel;
    this.#subscriber = duplicate(redis, timeout);
    this.#subscriber.on('error', () => undefined);
    this.#subscriber.on('message', (_, message: string) => {
      // Of a server that tried whether it may publish.
      if (message === '') return;
      const [, before = '', last = '', count, since, name] = MESSAGE.exec(message) ?? [];
      if (last !== '')
        history.recordChange(before, { count: Number(count), last, since: Number(since) });
      this.notify(name === '' ? undefined : name);
    });
    this.#subscriber.on('ready', () => {
      this.#isSubscribed = false;
      void this.#subscribe().catch(() => undefined);
    });
    // A connection over which nothing comes any more is noticed only if something is asked for over
    // it. To subscribe again changes nothing, needs no further permission, and shows if it is lost.
    this.#beat = setInterval(
      () => void this.#subscribe().catch(() => undefined),
      ASK_EVERY,
    ).unref();
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  /** Tells those who listen here, without a name of any record that there may be. */
  notify(name?: string): void {
    for (const listener of this.#listeners) listener(name);
  }

  /**
   * Waits until changes are heard of.
   *
   * @param milliseconds for how long to wait for a connection
   * @returns why they are not, if this server may not hear of them
   * @throws Error if there is no connection
   */
  async ready(milliseconds: number): Promise<string | undefined> {
    const end = performance.now() + milliseconds;
    for (;;) {
      const left = Math.max(1, Math.ceil(end - performance.now()));
      if (this.#subscriber.status !== 'ready') await whenReady(this.#subscriber, left);
      try {
        return await this.#subscribe();
      } catch (error) {
        // The connection ended under it: there is another one soon.
        if (!(performance.now() < end)) throw error;
        await sleep(20);
      }
    }
  }

  close(): void {
    clearInterval(this.#beat);
    this.#subscriber.disconnect();
  }

  /**
   * @returns why changes are not heard of, if this server may not hear of them
   * @throws Error if the connection is gone: the next one subscribes
   */
  async #subscribe(): Promise<string | undefined> {
    try {
      await this.#subscriber.subscribe(this.channel);
    } catch (error) {
      if ((error as Error).name !== 'ReplyError') throw error;
      this.#isSubscribed = false;
      const message = this.#lateness(error as Error);
      this.#warnings.begin('COUNTERSIGN_KEY_STORE_NOT_SUBSCRIBED', { message });
      return message;
    }
    this.#warnings.end('COUNTERSIGN_KEY_STORE_NOT_SUBSCRIBED');
    // What happened while nobody listened is not known.
    if (!this.#isSubscribed) this.notify();
    this.#isSubscribed = true;
    return undefined;
  }

  #lateness(error: Error): string {
    const message = `Changes of keys are noticed after seconds only: ${error.message}`;
    if (!isRefusal(error)) return message;
    const rule = lacksOf('SUBSCRIBE', error.message, { channel: this.channel });
    return `${message}; ${formatRefusals({ user: userOf(this.#subscriber), rule })}`;
  }
}
