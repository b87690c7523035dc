import { randomBytes } from 'node:crypto';
import { describeValue, findTextFlaw, quote, splitMasterKey } from '@countersign/shared';
import { BoundedMap } from '../lib/bounded-map.ts';
import { KeyStoreError } from './key-store-error.ts';

/**
 * The keys that secrets are sealed with, as text: `<id>:<32 random bytes in base64url>`. The first
 * one of a list seals, and all of them open.
 *
 * A function (for a key management service) is called with the id of a key, or without an id for
 * the key that seals now. It returns the key, `undefined` if there is none of that id, or the list
 * of all keys. With a list, ids that attackers make up cost nothing. Without one, the function is
 * called for each of them, for up to 64 at a time.
 */
export type MasterKeyProvider =
  | string
  | readonly string[]
  | ((id: string | undefined) => MasterKeyAnswer | Promise<MasterKeyAnswer>);

/** What a function returns: one key, all keys, or none. */
type MasterKeyAnswer = string | readonly string[] | undefined;

/** A key that secrets are sealed with. */
export interface MasterKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

/**
 * Milliseconds after which the function is asked for a key again: its owner may have removed it.
 */
const GOOD_FOR = 60_000;
/** Milliseconds after which it is asked again for a key that did not exist. */
const BAD_FOR = 5_000;
/** Milliseconds to wait for the function. A request waits for it. */
const LONGEST_WAIT = 5_000;
/** Milliseconds to wait for it if there is an answer of a minute ago. */
const LONGEST_WAIT_IF_KNOWN = 250;
/**
 * How many unknown ids are asked for at a time. Tokens name them, and an attacker can write tokens.
 */
const MOST_ASKED = 64;
/** How many ids without a key are remembered. */
const MOST_MISSED = 10_000;

const ID = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * Makes a master key. Keep it apart from what it seals: in the environment, in a file of its own,
 * or in a key management service.
 *
 * @param id its name: the present date if not given
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
  if (typeof id !== 'string' || !ID.test(id))
    throw new TypeError(
      `Cannot make master key ${describeValue(id)}: expected 1 to 64 of A-Z a-z 0-9 _ - for its name`,
    );
  return `${id}:${randomBytes(32).toString('base64url')}`;
}

/** The answer of the function for one id, or the promise of it. */
interface Answer {
  /** Milliseconds, by `performance.now()`. */
  readonly at: number;
  readonly key: Promise<MasterKey | undefined>;
}

/** All keys by their ids. The first one seals. */
type KeyList = ReadonlyMap<string, MasterKey>;

/** All keys, as the function returned them. */
interface ListAnswer {
  readonly at: number;
  readonly keys: KeyList;
}

/**
 * Master keys by their ids. A function is asked for the sealing key before each seal, and for any
 * other key once a minute.
 */
export class MasterKeys {
  /** The keys, if they were given directly and there is no function to ask. */
  readonly #given: KeyList | undefined;
  readonly #ask: (id: string | undefined) => MasterKeyAnswer | Promise<MasterKeyAnswer>;
  /** The last list, if the function returns lists. */
  #list: ListAnswer | undefined;
  /** The last call of a function that returns lists. */
  #relisting: { readonly at: number; readonly done: Promise<unknown> } | undefined;
  /**
   * Answers for ids that have a key, or had one a minute ago. They are apart from the guesses, so
   * that attackers cannot push them out.
   */
  readonly #keys = new Map<string, Answer>();
  /** Answers for ids that may be made up. */
  readonly #guesses = new BoundedMap<string, Answer>(MOST_MISSED);
  /** Unknown ids that the function is asked for now, and since when. */
  readonly #asked = new Map<string, number>();
  /** The sealing key, at most a minute old. */
  #sealing: Answer | undefined;

  /** @throws TypeError if a key that is given directly is unusable. The message shows no key */
  constructor(provider: MasterKeyProvider) {
    if (typeof provider === 'function') {
      this.#ask = provider;
      return;
    }
    this.#ask = () => undefined;
    this.#given = parseList(Array.isArray(provider) ? provider : [provider]);
  }

  /**
   * The key that seals now.
   *
   * @throws KeyStoreError `ERR_MASTER_KEY`
   */
  async current(): Promise<MasterKey> {
    const [first] = this.#given?.values() ?? [];
    if (first !== undefined) return first;
    const key = await this.#load(undefined);
    if (key === undefined) throw failed('that seals now', 'there is none');
    this.#keys.set(key.id, { at: performance.now(), key: Promise.resolve(key) });
    return key;
  }

  /**
   * The key of an id, to open what it has sealed.
   *
   * @throws KeyStoreError `ERR_MASTER_KEY`
   */
  async get(id: string): Promise<MasterKey> {
    const key = await this.find(id);
    if (key === undefined) throw failed(quote(id), 'it is not among those that there are');
    return key;
  }

  /**
   * The key of an id that an attacker may have made up.
   *
   * @returns `undefined` if there is no key of that id, or no longer one
   * @throws KeyStoreError `ERR_MASTER_KEY` if the function failed
   */
  async find(id: string): Promise<MasterKey | undefined> {
    if (this.#given !== undefined) return this.#given.get(id);
    if (!ID.test(id)) return undefined;
    if (this.#list !== undefined) return this.#findListed(id, this.#list);
    const good = this.#keys.get(id);
    if (good !== undefined && isFresh(good, GOOD_FOR)) return good.key;
    const guess = this.#guesses.get(id);
    if (guess !== undefined && isFresh(guess, BAD_FOR)) return guess.key;
    this.#guesses.delete(id);
    if (good === undefined && !this.#makeRoom()) return this.#known(id);
    if (good === undefined) this.#asked.set(id, performance.now());
    // While the function fails, a key of a minute ago is still used.
    const key = this.#load(id).catch((error) => {
      if (good === undefined) throw error;
      return good.key;
    });
    const answer: Answer = { at: performance.now(), key };
    const [from, to] =
      good === undefined ? [this.#guesses, this.#keys] : [this.#keys, this.#guesses];
    from.set(id, answer);
    const settle = (): unknown => this.#asked.delete(id);
    key.then(settle, settle);
    key.then(
      (found) => {
        if ((found === undefined) === (good === undefined)) return;
        from.delete(id);
        to.set(id, answer);
      },
      () => undefined,
    );
    return key;
  }

  /**
   * Whether the function can be asked for one more unknown id. Without a bound, made-up ids could
   * overload the service behind the function.
   */
  #makeRoom(): boolean {
    for (const [oldest, at] of this.#asked) {
      // A call that hangs must not take a place permanently.
      if (this.#asked.size < MOST_ASKED || performance.now() - at <= BAD_FOR) break;
      this.#asked.delete(oldest);
    }
    return this.#asked.size < MOST_ASKED;
  }

  /**
   * For a function that returns lists. It is called again once a minute, and every five seconds if
   * an id is not in its last list.
   */
  async #findListed(id: string, { at, keys }: ListAnswer): Promise<MasterKey | undefined> {
    const known = keys.get(id);
    if (performance.now() - at <= (known === undefined ? BAD_FOR : GOOD_FOR)) return known;
    if (this.#relisting === undefined || performance.now() - this.#relisting.at > BAD_FOR)
      this.#relisting = { at: performance.now(), done: this.#load(id) };
    try {
      // A function that hangs must not hold up requests whose key is known.
      await (known === undefined
        ? this.#relisting.done
        : settled(this.#relisting.done, LONGEST_WAIT_IF_KNOWN));
    } catch (error) {
      // While the function fails, a key of a minute ago is still used.
      if (known === undefined) throw error;
    }
    return (this.#list ?? { keys }).keys.get(id);
  }

  /**
   * Answers if too many unknown ids are asked for. Recent tokens are sealed with the sealing key,
   * so that one is still found.
   */
  async #known(id: string): Promise<MasterKey> {
    if (this.#sealing === undefined || !isFresh(this.#sealing, GOOD_FOR)) {
      const key = this.#load(undefined).catch(() => undefined);
      this.#sealing = { at: performance.now(), key };
    }
    const key = await this.#sealing.key;
    if (key?.id !== id) throw failed(quote(id), 'too many are asked for');
    return key;
  }

  /** Calls the function. A list that arrives late is used too: a key may be missing from it. */
  async #callProvider(id: string | undefined): Promise<KeyList | string | undefined> {
    const answer = await this.#ask(id);
    if (!Array.isArray(answer)) return answer as string | undefined;
    const keys = parseList(answer);
    this.#list = { at: performance.now(), keys };
    return keys;
  }

  async #load(id: string | undefined): Promise<MasterKey | undefined> {
    try {
      const answer = await settled(this.#callProvider(id), LONGEST_WAIT);
      if (answer instanceof Map) {
        const keys: KeyList = answer;
        return id === undefined ? keys.values().next().value : keys.get(id);
      }
      if (id !== undefined) this.#list = undefined;
      if (answer === undefined) return undefined;
      const key = parse(answer);
      if (id !== undefined && key.id !== id) throw new Error(`another was given, ${quote(key.id)}`);
      return key;
    } catch (cause) {
      throw failed(
        id === undefined ? 'that seals now' : quote(id),
        (cause as Error).message,
        cause,
      );
    }
  }
}

/** @throws Error if a promise does not settle within so many milliseconds */
async function settled<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `there was no answer within ${milliseconds} ms`;
    timer = setTimeout(() => reject(new Error(message)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function isFresh({ at }: Answer, milliseconds: number): boolean {
  return performance.now() - at <= milliseconds;
}

function failed(which: string, why: string, cause?: unknown): KeyStoreError {
  return new KeyStoreError('ERR_MASTER_KEY', `Cannot get the master key ${which}: ${why}`, {
    cause,
  });
}

function parseList(texts: readonly unknown[]): KeyList {
  if (texts.length === 0) throw notOne();
  const keys = new Map(texts.map(parse).map((key) => [key.id, key]));
  if (keys.size !== texts.length)
    throw new TypeError('Cannot use master keys: two of them have the same id');
  return keys;
}

function parse(text: unknown): MasterKey {
  const split = typeof text === 'string' ? splitMasterKey(text) : undefined;
  if (split === undefined) throw notOne(text);
  const { id, encoded } = split;
  const bytes = Buffer.from(encoded, 'base64url');
  if (new Set(bytes).size < 8)
    throw new TypeError(
      `Cannot use master key ${quote(id)}: it repeats a few bytes; make one with generateMasterKey()`,
    );
  return { id, bytes };
}

function notOne(text?: unknown): TypeError {
  const flaw = typeof text === 'string' ? findTextFlaw(text) : undefined;
  return new TypeError(
    `Cannot use master key: ${flaw === undefined ? '' : `${flaw}; `}expected <id>:<32 bytes in base64url>, as generateMasterKey() makes it`,
  );
}
