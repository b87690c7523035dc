import { quote } from '@countersign/shared';
import { type KeptKey, keyName, readKey, type StoredKey, toRecord } from './key-record.ts';
import { isNotReplicated, KeyStoreError } from './key-store-error.ts';
import type { Change, RecordStore, UpdateOptions } from './record-store.ts';
import type { RevocationRecord, RevocationRecords } from './revocation-records.ts';
import { type RotateOptions, rotate, successorOf, unrotate } from './rotation.ts';

/**
 * Access keys, as records. Each method reads from the store, not from a cache, and changes a record
 * in one step.
 */
export class KeyRecords {
  readonly #records: RecordStore;
  readonly #revocations: RevocationRecords;

  constructor(records: RecordStore, revocations: RevocationRecords) {
    this.#records = records;
    this.#revocations = revocations;
  }

  /** Reads a key from the store, not from a cache. */
  async read(name: string): Promise<KeptKey | undefined> {
    return readKey(name, await this.#records.read(name));
  }

  async insert(key: StoredKey, version: number | undefined): Promise<void> {
    const { accessKeyId } = key;
    try {
      await this.#records.update(keyName(accessKeyId), (current) => {
        if (current !== undefined)
          throw new KeyStoreError(
            'ERR_KEY_EXISTS',
            `Cannot add access key ${quote(accessKeyId)}: there is one of this id`,
          );
        return toRecord(key, version);
      });
    } catch (error) {
      // The owner never gets this key, or adds it again.
      if (isNotReplicated(error)) await this.takeBack(key).catch(() => undefined);
      throw error;
    }
  }

  /** Removes a key that was just stored, unless it was changed since. */
  async takeBack(key: StoredKey): Promise<void> {
    const name = keyName(key.accessKeyId);
    await this.#records.update(name, (current) => {
      const stored = readKey(name, current)?.accessKey;
      const isAsStored =
        stored?.status === 'active' &&
        stored.secretAccessKey === key.secretAccessKey &&
        publicTextOf(stored) === publicTextOf(key);
      return isAsStored ? undefined : current;
    });
  }

  /**
   * Reads a key that can be changed.
   *
   * @throws KeyStoreError if there is no such key, or it is revoked: alone, or with all keys of its
   *   subject
   */
  async present(accessKeyId: string): Promise<KeptKey> {
    const key = await this.read(keyName(accessKeyId));
    if (key === undefined) throw notFound(accessKeyId);
    const own = await this.#revocations.present(key.accessKey.subject);
    if (limited(key, own, undefined).status === 'revoked') throw revoked(accessKeyId);
    return key;
  }

  async change(
    accessKeyId: string,
    change: (key: KeptKey) => KeptKey,
    how?: UpdateOptions,
  ): Promise<void> {
    const name = keyName(accessKeyId);
    await this.present(accessKeyId);
    const changeRecord: Change = (current) => {
      const key = readKey(name, current);
      if (key === undefined) throw notFound(accessKeyId);
      if (key.accessKey.status === 'revoked') throw revoked(accessKeyId);
      const { accessKey, version, rotated } = change(key);
      return toRecord(accessKey, version, rotated);
    };
    await this.#records.update(name, changeRecord, how);
  }

  /**
   * Stores a successor of a key, and limits the life of the old key.
   *
   * @param overlap seconds for which the old key still works
   * @param now Unix seconds
   */
  async rotate(
    accessKeyId: string,
    { overlap, publicKey, now }: RotateOptions & { readonly now: number },
  ): Promise<StoredKey> {
    const old = await this.present(accessKeyId);
    const fresh = successorOf(old, now, publicKey);
    const to = fresh.accessKeyId;
    // The same version as the old key: if all keys of the subject are revoked meanwhile, the new
    // key is revoked too.
    await this.insert(fresh, old.version);
    let before: KeptKey | undefined;
    try {
      await this.change(accessKeyId, (key) => {
        before = key;
        return rotate(key, to, now + overlap);
      });
    } catch (error) {
      // Another process may have revoked the old key, so the new one must not work. Or a
      // failover may lose the end of the old key.
      const was = before;
      await Promise.allSettled([
        this.takeBack(fresh),
        was && this.change(accessKeyId, (key) => unrotate(key, to, was)),
      ]);
      throw error;
    }
    return fresh;
  }
}

/** Applies to a key what was revoked of all keys of its subject, or of all subjects. */
export function limited(
  { accessKey, version }: KeptKey,
  own: RevocationRecord | undefined,
  all: RevocationRecord | undefined,
): StoredKey {
  if (own === undefined && all === undefined) return accessKey;
  if (!(version >= (own?.keyVersion ?? 0))) return { ...accessKey, status: 'revoked' };
  const signedSince = Math.max(own?.signedSince ?? 0, all?.signedSince ?? 0);
  return signedSince > 0 ? { ...accessKey, signedSince } : accessKey;
}

function publicTextOf(key: StoredKey): unknown {
  return 'publicKey' in key ? key.publicKey.key : undefined;
}

export function notFound(accessKeyId: string): KeyStoreError {
  return new KeyStoreError('ERR_KEY_NOT_FOUND', `There is no access key ${quote(accessKeyId)}`);
}

export function revoked(accessKeyId: string): KeyStoreError {
  return new KeyStoreError(
    'ERR_KEY_REVOKED',
    `Access key ${quote(accessKeyId)} is revoked permanently: make a new one`,
  );
}
