import { randomBytes } from 'node:crypto';
import { quote } from '@countersign/shared';
import { KeyStoreError } from './key-store-error.ts';

/**
 * The keys that secrets are sealed with, as text: `<id>:<32 bytes in base64url>`. Of a list the first one seals, and all open; a
 * function is asked for one by its id, or without one for the key that seals now (a key management service).
 */
export type MasterKeySource =
  | string
  | readonly string[]
  | ((id: string | undefined) => string | Promise<string>);

/** A key that secrets are sealed with. */
export interface MasterKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** Milliseconds, and how many within them: then who is asked is left in peace. */
const FORGET_FAILURES = 5_000;
const MOST_FAILURES = 100;

const MASTER_KEY = /^([A-Za-z0-9_-]{1,64}):([A-Za-z0-9_-]{43})$/;

/**
 * Makes a master key. Keep it apart from what it seals: in the environment, in a file of its own, in a key management service.
 *
 * @param id a name for it: the present date if not given
 * @returns `<id>:<32 random bytes in base64url>`
 *
 * @example
 * ```ts
 * import { generateMasterKey } from '@countersign/server';
 *
 * console.assert(/^2026-11:[\w-]{43}$/.test(generateMasterKey('2026-11')));
 * ```
 */
export function generateMasterKey(id: string = new Date().toISOString().slice(0, 10)): string {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id))
    throw new TypeError(
      `Cannot make master key ${quote(id)}: expected 1 to 64 of A-Z a-z 0-9 _ - for its name`,
    );
  return `${id}:${randomBytes(32).toString('base64url')}`;
}

/** Master keys by their ids, each asked for once. */
export class MasterKeys {
  readonly #ask: (id: string | undefined) => string | Promise<string>;
  readonly #known = new Map<string, MasterKey>();
  /** What was asked for in vain a moment ago: whoever writes tokens may name any key. */
  readonly #failed = new Map<string, KeyStoreError>();
  #failedSince = 0;
  readonly #isList: boolean;

  /** @throws TypeError where a key that is given directly is none. No key is part of the message */
  constructor(source: MasterKeySource) {
    this.#isList = typeof source !== 'function';
    if (typeof source === 'function') {
      this.#ask = source;
      return;
    }
    const keys = (Array.isArray(source) ? source : [source]).map(parse);
    if (keys.length === 0) throw notOne();
    for (const key of keys) this.#known.set(key.id, key);
    if (this.#known.size !== keys.length)
      throw new TypeError('Cannot use master keys: two of them have the same id');
    this.#ask = (id) => {
      if (id === undefined) return format(keys[0] as MasterKey);
      throw new Error('it is not among those that were given');
    };
  }

  /**
   * The key that seals, now.
   *
   * @throws KeyStoreError `ERR_MASTER_KEY`
   */
  current(): Promise<MasterKey> {
    return this.#get(undefined);
  }

  /**
   * The key of an id, to open what it sealed.
   *
   * @throws KeyStoreError `ERR_MASTER_KEY`
   */
  async get(id: string): Promise<MasterKey> {
    return this.#known.get(id) ?? this.#get(id);
  }

  /**
   * The key of an id that a stranger named.
   *
   * @returns `undefined` where there is none of that id
   * @throws KeyStoreError `ERR_MASTER_KEY` where that cannot be told, because who was asked has failed
   */
  async find(id: string): Promise<MasterKey | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined || this.#isList) return known;
    if (performance.now() - this.#failedSince > FORGET_FAILURES) {
      this.#failed.clear();
      this.#failedSince = performance.now();
    }
    const failure = this.#failed.get(id);
    if (failure !== undefined) throw failure;
    if (this.#failed.size >= MOST_FAILURES) return undefined;
    try {
      return await this.#get(id);
    } catch (error) {
      this.#failed.set(id, error as KeyStoreError);
      throw error;
    }
  }

  async #get(id: string | undefined): Promise<MasterKey> {
    try {
      const key = parse(await this.#ask(id));
      if (id !== undefined && key.id !== id) throw new Error(`another was given, ${quote(key.id)}`);
      this.#known.set(key.id, key);
      return key;
    } catch (cause) {
      const which = id === undefined ? 'that seals now' : quote(id);
      throw new KeyStoreError(
        'ERR_MASTER_KEY',
        `Cannot get the master key ${which}: ${(cause as Error).message}`,
        { cause },
      );
    }
  }
}

function parse(text: unknown): MasterKey {
  const [, id, encoded] = (typeof text === 'string' && MASTER_KEY.exec(text)) || [];
  if (id === undefined || encoded === undefined) throw notOne();
  const bytes = Buffer.from(encoded, 'base64url');
  if (new Set(bytes).size < 8)
    throw new TypeError(
      `Cannot use master key ${quote(id)}: it repeats a few bytes; make one with generateMasterKey()`,
    );
  return { id, bytes };
}

function format({ id, bytes }: MasterKey): string {
  return `${id}:${Buffer.from(bytes).toString('base64url')}`;
}

function notOne(): TypeError {
  return new TypeError(
    'Cannot use master key: expected <id>:<32 bytes in base64url>, as generateMasterKey() makes it',
  );
}
