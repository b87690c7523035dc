import { MemoryNonceStore, type NonceClaim, type NonceStore } from '@countersign/server';
import { RedisNonceStore } from '@countersign/server/redis';
import { Redis, type RedisOptions } from 'ioredis';
import { type RedisServer, startRedis } from '../support/redis.ts';
import type { Answer, Limits } from './model.ts';

/** A store with its verifiers, and clocks that stand still. */
export interface World {
  /** Claims, through one of the verifiers. */
  claim(by: number, claim: NonceClaim): Promise<Answer>;
  /**
   * Sets all clocks. Milliseconds: the true time, and what the clock of the store is ahead of it.
   */
  setClocks(now: number, offset: number): Promise<void>;
  /** Loses what the store knows. */
  lose(): Promise<void>;
  /** All that the store holds. */
  contents(): Promise<unknown>;
  /**
   * A verifier looks after the store, as it does by itself after a while. Says whether it could.
   */
  lookAfter(by: number): Promise<boolean>;
  close(): Promise<void>;
}

/** What can happen to a Redis, and to who uses it. */
export interface RedisWorld extends World {
  /** Keeps what the store knows now. Says whether there was anything. */
  keep(): Promise<boolean>;
  /**
   * Whether the store is past what was kept, so that who has just looked after it knows of more.
   */
  isPast(kept: number): Promise<boolean>;
  /** Brings back what was kept. */
  restore(kept: number): Promise<void>;
  /** Brings back what was kept, in another Redis: a snapshot that it is started from. */
  restoreElsewhere(kept: number): Promise<void>;
  /** Another Redis takes over, which has the same. */
  promote(): Promise<void>;
  /** Another verifier takes the place of one. */
  restart(by: number): Promise<void>;
}

const MEMORY: Limits = {
  ahead: 5_000,
  slack: 1_000,
  late: 0,
  skews: [0, 900, -900],
  isOneClock: true,
  isCapped: false,
};

/** A store in the memory of a process. */
export class MemoryWorld implements World {
  static readonly limits = MEMORY;
  #time = 0;
  #store: MemoryNonceStore | undefined;
  readonly #maxEntries: number | undefined;

  constructor(maxEntries?: number) {
    this.#maxEntries = maxEntries;
  }

  async claim(_: number, claim: NonceClaim): Promise<Answer> {
    return answerOf(this.#store as NonceStore, claim);
  }

  async setClocks(now: number, offset: number): Promise<void> {
    this.#time = (now + offset) / 1000;
    this.#store ??= this.#begin();
  }

  async lose(): Promise<void> {
    this.#store = this.#begin();
  }

  async contents(): Promise<unknown> {
    return this.#store?.size;
  }

  async lookAfter(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}

  #begin(): MemoryNonceStore {
    return new MemoryNonceStore({
      clock: () => this.#time,
      maxEntries: this.#maxEntries,
      perSubject: 1_000_000,
    });
  }
}

/**
 * Seconds for which a claim waits for Redis: no test machine is slower. So much its clock may be
 * ahead, too.
 */
const TIMEOUT = 10;

/** Three verifiers with clocks as far apart as they may be, on a Redis whose clock is a key. */
export class ThreeVerifiers implements RedisWorld {
  static readonly limits: Limits = {
    ...MEMORY,
    late: TIMEOUT * 1000,
    skews: [0, 500, -500],
    isOneClock: false,
  };
  static #count = 0;
  readonly #admin: Redis;
  readonly #url: string;
  readonly #script: string;
  readonly #prefix = `model:${++ThreeVerifiers.#count}`;
  readonly #key = `${this.#prefix}:0`;
  readonly #clockKey = `${this.#prefix}:clock`;
  readonly #stores: RedisNonceStore[] = [];
  readonly #kept: { readonly dump: Buffer; readonly tick: number }[] = [];
  #now = 0;

  /**
   * @param script what decides claims: that of the store, or one that is broken, to see that it is
   * noticed
   */
  constructor(admin: Redis, url: string, script: string) {
    this.#admin = admin;
    this.#url = url;
    const read = `redis.call('INCRBY', '${this.#clockKey}', 2)`;
    const time = `(function(time) return {math.floor(time / 1000000), time % 1000000} end)(${read})`;
    this.#script = replaceOnce(script, "redis.call('TIME')", time);
  }

  async claim(by: number, claim: NonceClaim): Promise<Answer> {
    return answerOf(this.#stores[by] as NonceStore, claim);
  }

  async setClocks(now: number, offset: number): Promise<void> {
    this.#now = now;
    await this.#admin.set(this.#clockKey, String((now + offset) * 1000));
    if (this.#stores.length > 0) return;
    for (const by of ThreeVerifiers.limits.skews.keys()) this.#stores.push(this.#begin(by));
    await Promise.all(this.#stores.map((store) => store.ready()));
  }

  async lose(): Promise<void> {
    await this.#admin.del(this.#key);
  }

  async contents(): Promise<unknown> {
    return this.#admin.zrange(this.#key, '0', '-1', 'WITHSCORES');
  }

  async lookAfter(by: number): Promise<boolean> {
    const store = this.#stores[by] as RedisNonceStore;
    // The first may be one that was under way before what has just happened.
    await store.ready(0).catch(() => undefined);
    return store.ready(0).then(
      () => true,
      () => false,
    );
  }

  async keep(): Promise<boolean> {
    const dump = await this.#admin.dumpBuffer(this.#key);
    if (dump !== null) this.#kept.push({ dump, tick: await this.#tick() });
    return dump !== null;
  }

  async isPast(kept: number): Promise<boolean> {
    return (await this.#tick()) > (this.#kept[kept]?.tick as number);
  }

  async restore(kept: number): Promise<void> {
    await this.#admin.restore(this.#key, 0, this.#kept[kept]?.dump as Buffer, 'REPLACE');
  }

  async restoreElsewhere(kept: number): Promise<void> {
    await this.promote();
    await this.restore(kept);
  }

  async promote(): Promise<void> {
    await this.#admin.call('DEBUG', 'CHANGE-REPL-ID');
  }

  async restart(by: number): Promise<void> {
    await this.#stores[by]?.close();
    this.#stores[by] = this.#begin(by);
  }

  async close(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    await this.#admin.del(this.#key, this.#clockKey);
  }

  #begin(by: number): RedisNonceStore {
    const clock = () => (this.#now + (ThreeVerifiers.limits.skews[by] as number)) / 1000;
    const redis = new ScriptedRedis(this.#url, this.#script);
    return new RedisNonceStore({ redis, prefix: this.#prefix, timeout: TIMEOUT, clock });
  }

  /**
   * How late it is by the state of the store, of whatever form: the one member that is no nonce.
   */
  async #tick(): Promise<number> {
    // The state lies behind all else.
    const [, score = 0] = await this.#admin.zrange(this.#key, '-1', '-1', 'WITHSCORES');
    return Number(score);
  }
}

/**
 * A connection whose copies run another script than the one that is defined on them. It is never
 * used itself.
 */
class ScriptedRedis extends Redis {
  readonly #script: string;

  constructor(url: string, script: string) {
    super(url, { lazyConnect: true });
    this.#script = script;
  }

  override duplicate(override?: Partial<RedisOptions>) {
    const copy = super.duplicate(override);
    const define = copy.defineCommand.bind(copy);
    copy.defineCommand = (name, definition) => define(name, { ...definition, lua: this.#script });
    return copy;
  }
}

/**
 * @throws Error where the text is not there, or more than once: what was to be replaced has changed
 */
export function replaceOnce(text: string, from: string, to: string): string {
  const parts = text.split(from);
  if (parts.length !== 2)
    throw new Error(`Cannot replace "${from}": it is there ${parts.length - 1} times`);
  return parts.join(to);
}

/** Starts a Redis that can be told to take another name. */
export async function startDebuggableRedis(): Promise<RedisServer> {
  // From 7.0 on it must be asked for; before, there is no such option.
  return startRedis({ args: ['--enable-debug-command', 'yes'] }).catch(() => startRedis());
}

async function answerOf(store: NonceStore, claim: NonceClaim): Promise<Answer> {
  return store.claim(claim).catch((error: unknown) => ({ outcome: 'rejected', error }));
}
