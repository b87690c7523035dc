import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../../lib/operator-warning.ts';
import { duplicate } from '../../lib/redis/own-connection.ts';
import { whenReady } from '../../lib/redis/reachable.ts';
import { formatRefusals, isRefusal, lacksOf, userOf } from '../../lib/redis/redis-permissions.ts';
import type { StoreHistory } from '../store-history.ts';

/** Milliseconds between two checks of the subscription. */
const ASK_EVERY = 1_000;

/**
 * The parts of an announcement: the name of the change before; the name, the number and the `since`
 * of this change, empty if it is not counted yet; the name of the record, empty if it is of no
 * record.
 */
const MESSAGE = /^(\S*) (\S*) (\d*) (\d*) (.*)$/s;

/** Announces changes of records to all servers, and receives their announcements. */
export class RedisChanges {
  readonly channel: string;
  readonly #subscriber: Redis | Cluster;
  readonly #beat: NodeJS.Timeout;
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #warnings: OperatorWarnings;
  #isSubscribed = false;

  /**
   * @param redis the connection that its own one is made like
   * @param timeout milliseconds
   * @param history records the announced changes
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
      // A server sends an empty message to test its permission.
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
    // A dead connection is noticed only if a command is sent over it. Subscribing again is such
    // a command: it changes nothing and needs no further permission.
    this.#beat = setInterval(
      () => void this.#subscribe().catch(() => undefined),
      ASK_EVERY,
    ).unref();
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  /** Tells the listeners of this server that a record has changed; without a name, any record. */
  notify(name?: string): void {
    for (const listener of this.#listeners) listener(name);
  }

  /**
   * Waits until announcements arrive.
   *
   * @param milliseconds to wait for a connection
   * @returns why no announcements arrive, if the user may not subscribe
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
        // The connection has closed. A new one follows soon.
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
   * @returns why no announcements arrive, if the user may not subscribe
   * @throws Error if the connection is gone; the next one subscribes
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
    // Announcements may have been missed before, so any record may have changed.
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
