import { kindOf } from '@countersign/shared';
import * as z from 'zod';
import { clockOption, parseOptions } from '../../lib/options.ts';
import type { GivenAccessKey } from '../../verify/key-store.ts';
import { checkKey, type KeptKey, keyName, readKey, toRecord } from '../key-record.ts';
import { revoked } from '../key-records.ts';
import { ManagedKeyStore } from '../managed-key-store.ts';
import { subjectName } from '../revocation-records.ts';
import { MemoryRecords } from './memory-records.ts';

export interface MemoryKeyStoreOptions {
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
}

const optionsSchema = z.strictObject({ clock: clockOption });

/**
 * Access keys in the memory of this process: for tests, examples, and servers whose keys come from
 * configuration.
 *
 * @example
 * ```ts
 * import { generateAccessKey, MemoryKeyStore } from '@countersign/server';
 *
 * const key = generateAccessKey({ subject: 'alice', scopes: ['videos:parse'] });
 * const keys = new MemoryKeyStore([key]);
 * console.assert((await keys.find(key.accessKeyId))?.subject === 'alice');
 * ```
 */
export class MemoryKeyStore extends ManagedKeyStore {
  readonly #records: MemoryRecords;

  /**
   * @param accessKeys the keys to begin with
   * @param options see {@link MemoryKeyStoreOptions}; or the clock alone
   * @throws TypeError or RangeError naming the option that cannot be used, or if a key cannot be
   *   used: see {@link MemoryKeyStore.set}
   */
  constructor(
    accessKeys: Iterable<GivenAccessKey> = [],
    options: MemoryKeyStoreOptions | (() => number) = {},
  ) {
    if (typeof accessKeys !== 'object' || typeof accessKeys?.[Symbol.iterator] !== 'function')
      throw new TypeError(
        `Cannot build MemoryKeyStore: expected a list of access keys, got ${kindOf(accessKeys)}`,
      );
    const given = typeof options === 'function' ? { clock: options } : options;
    const { clock } = parseOptions('MemoryKeyStore', optionsSchema, given);
    const records = new MemoryRecords(clock);
    super(records, clock);
    this.#records = records;
    for (const accessKey of accessKeys) this.set(accessKey);
  }

  /**
   * Adds a key, or replaces the key of that id, synchronously.
   *
   * @throws KeyStoreError `ERR_KEY_REVOKED` if the key of that id is revoked
   * @throws TypeError if a field is missing or of the wrong type; if the secret is shorter than 16
   *   bytes, repeats a few characters, or is a known placeholder; if a public key cannot be used.
   *   The message never shows the secret
   */
  set(accessKey: GivenAccessKey): void {
    const key = checkKey(accessKey);
    const name = keyName(key.accessKeyId);
    const present = readKey(name, this.#records.peek(name));
    // A revocation stays, even if the server reads its configuration again.
    if (present !== undefined && this.#isRevoked(present)) throw revoked(key.accessKeyId);
    const isSameSubject = present?.accessKey.subject === key.subject;
    const version = isSameSubject ? present.version : this.#keyVersion(key.subject);
    this.#records.put(name, toRecord(key, version));
  }

  /** Removes a key. Requests that are signed with it are refused from now on. */
  delete(accessKeyId: string): boolean {
    return this.#records.put(keyName(accessKeyId), undefined);
  }

  #isRevoked({ accessKey, version }: KeptKey): boolean {
    return accessKey.status === 'revoked' || !(version >= this.#keyVersion(accessKey.subject));
  }

  #keyVersion(subject: string): number {
    return Number(this.#records.peek(subjectName(subject))?.metadata['keyVersion'] ?? 0);
  }
}
