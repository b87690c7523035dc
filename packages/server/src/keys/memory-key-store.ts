import { parseOptions } from '../options.ts';
import { type AccessKey, accessKeySchema, type KeyStore } from './key-store.ts';

/**
 * Access keys in the memory of this process: for tests, examples, and servers whose keys come from configuration.
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
export class MemoryKeyStore implements KeyStore {
  readonly #keys = new Map<string, AccessKey>();

  /**
   * @param accessKeys the keys to begin with
   * @throws TypeError or RangeError where a key cannot be used: see {@link MemoryKeyStore.set}
   */
  constructor(accessKeys: Iterable<AccessKey> = []) {
    for (const accessKey of accessKeys) this.set(accessKey);
  }

  /** Finds a key by its id. */
  async find(accessKeyId: string): Promise<AccessKey | undefined> {
    return this.#keys.get(accessKeyId);
  }

  /**
   * Adds a key, or replaces the one of that id: for a rotation, or with `status: 'disabled'` for a revocation.
   *
   * @throws TypeError where a field is missing or of the wrong type; where the secret is shorter than 16 bytes, repeats a
   * few characters, or is a known placeholder. The secret is never part of the message
   */
  set(accessKey: AccessKey): void {
    // Of what is no key at all nothing is shown: it may be the secret.
    const shown = typeof accessKey === 'object' ? accessKey : undefined;
    const checked = parseOptions('MemoryKeyStore', accessKeySchema, shown) as AccessKey;
    // Whoever finds a key holds what all other requests are judged by.
    this.#keys.set(
      checked.accessKeyId,
      Object.freeze({ ...checked, scopes: Object.freeze(checked.scopes) }),
    );
  }

  /** Removes a key; requests signed with it are refused from now on. */
  delete(accessKeyId: string): boolean {
    return this.#keys.delete(accessKeyId);
  }
}
