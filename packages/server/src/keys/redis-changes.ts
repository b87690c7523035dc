import type { Cluster, Redis } from 'ioredis';
import { duplicate } from '../redis-connection.ts';

/** Milliseconds. */
const PING_EVERY = 1_000;

/** What all servers tell each other: that a record has changed. */
export class RedisChanges {
  readonly channel: string;
  readonly #subscriber: Redis | Cluster;
  readonly #beat: NodeJS.Timeout;
  readonly #listeners: ((name?: string) => void)[] = [];

  /**
   * @param redis what a connection of its own is made like
   * @param timeout milliseconds
   */
  constructor(redis: Redis | Cluster, channel: string, timeout: number) {
    this.channel = channel;
    this.#subscriber = duplicate(redis, timeout);
    this.#subscriber.on('error', () => undefined);
    this.#subscriber.on('message', (_, name: string) => this.tell(name));
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
      // What happened while nobody listened is not known.
      this.tell();
    } catch (error) {
      // Where the connection is gone, the next one subscribes.
      if ((error as Error).name !== 'ReplyError') return;
      const message = `Changes of keys are noticed after seconds only: ${(error as Error).message}`;
      process.emitWarning(message, { code: 'COUNTERSIGN_KEY_STORE' });
    }
  }
}
