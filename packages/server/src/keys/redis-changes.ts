import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../operator-warning.ts';
import { duplicate } from '../redis-connection.ts';
import type { StoreHistory } from './store-history.ts';

/** Milliseconds. */
const PING_EVERY = 1_000;

/** The change before; this change, its number and since when the store is what it is, or nothing if it is not counted yet; the name of the record, if it is of one. */
const MESSAGE = /^(\S*) (\S*) (\d*) (\d*) (.*)$/s;

/** What all servers tell each other: that a record has changed. */
export class RedisChanges {
  readonly channel: string;
  readonly #subscriber: Redis | Cluster;
  readonly #beat: NodeJS.Timeout;
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #warnings: OperatorWarnings;

  /**
   * @param redis what a connection of its own is made like
   * @param timeout milliseconds
   * @param history is told of the changes that are counted
   */
  constructor(
    redis: Redis | Cluster,
    channel: string,
    timeout: number,
    history: Pick<StoreHistory, 'hear'>,
    warnings: OperatorWarnings,
  ) {
    this.#warnings = warnings;
    this.channel = channel;
    this.#subscriber = duplicate(redis, timeout);
    this.#subscriber.on('error', () => undefined);
    this.#subscriber.on('message', (_, message: string) => {
      const [, before = '', last = '', count, since, name] = MESSAGE.exec(message) ?? [];
      if (last !== '') history.hear(before, { count: Number(count), last, since: Number(since) });
      this.tell(name === '' ? undefined : name);
    });
    this.#subscriber.on('ready', () => void this.#subscribe());
    // A connection over which nothing comes any more is noticed only by who asks for something.
    this.#beat = setInterval(
      () => void this.#subscriber.ping().catch(() => undefined),
      PING_EVERY,
    ).unref();
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  /** Tells those who listen here, without a name of any record that there may be. */
  tell(name?: string): void {
    for (const listener of this.#listeners) listener(name);
  }

  close(): void {
    clearInterval(this.#beat);
    this.#subscriber.disconnect();
  }

  async #subscribe(): Promise<void> {
    try {
      await this.#subscriber.subscribe(this.channel);
      this.#warnings.end('COUNTERSIGN_KEY_STORE_NOT_SUBSCRIBED');
      // What happened while nobody listened is not known.
      this.tell();
    } catch (error) {
      // Where the connection is gone, the next one subscribes.
      if ((error as Error).name !== 'ReplyError') return;
      const message = `Changes of keys are noticed after seconds only: ${(error as Error).message}`;
      this.#warnings.begin('COUNTERSIGN_KEY_STORE_NOT_SUBSCRIBED', { message });
    }
  }
}
