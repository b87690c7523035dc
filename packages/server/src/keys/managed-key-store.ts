import type { PublicKeyAlgorithm } from '@countersign/shared';
import * as z from 'zod';
import { OperatorWarnings } from '../lib/operator-warning.ts';
import { parseOptions } from '../lib/options.ts';
import type {
  AccessKey,
  GivenAccessKey,
  KeyStore,
  PublicAccessKey,
  PublicKeyInput,
} from '../verify/key-store.ts';
import {
  type AccessKeyOwner,
  type GeneratedKey,
  type GeneratedKeyPair,
  generateAccessKey,
  type KeyRequest,
} from './generate-access-key.ts';
import {
  type AccessKeyInfo,
  createdOf,
  infoOf,
  mayBeOf,
  type UnreadableKeyInfo,
  unreadableInfo,
} from './key-info.ts';
import {
  accessKeyIdOf,
  checkKey,
  type KeptKey,
  keyName,
  revoke,
  type StoredKey,
  TOMBSTONE,
  withFields,
} from './key-record.ts';
import { KeyRecords, limited, notFound } from './key-records.ts';
import { LastUses } from './last-uses.ts';
import { RecordCache } from './record-cache.ts';
import { type Change, notResealed, type RecordStore } from './record-store.ts';
import { type Revocation, RevocationRecords, revocationSchema } from './revocation-records.ts';
import { type RotateOptions, rotateSchema } from './rotation.ts';
import {
  isSessionId,
  type SessionBeginning,
  type SessionFacts,
  type SessionRevocations,
} from './session-revocations.ts';

/** Seconds for which an answer is kept that was put together of records: with their age, how long a revocation takes where no message comes. */
const ANSWER_AGE = 1;

const listSchema = z.strictObject({ subject: z.string().optional() });

/**
 * The life of access keys, written once for all places where they are kept: `MemoryKeyStore`, `FileKeyStore` and `RedisKeyStore`
 * are this over records of their own.
 */
export class ManagedKeyStore implements KeyStore, SessionRevocations {
  readonly #records: RecordStore;
  readonly #clock: () => number;
  /** What is found, put together of what follows. */
  readonly #answers: RecordCache<StoredKey>;
  readonly #kept: RecordCache<KeptKey>;
  readonly #revocations: RevocationRecords;
  readonly #keys: KeyRecords;
  readonly #lastUses: LastUses;

  /** @param clock Unix seconds */
  protected constructor(
    records: RecordStore,
    clock: () => number,
    warnings = new OperatorWarnings(),
  ) {
    this.#records = records;
    this.#clock = clock;
    this.#kept = new RecordCache((name) => this.#keys.read(name));
    this.#revocations = new RevocationRecords(records, clock);
    this.#keys = new KeyRecords(records, this.#revocations);
    this.#lastUses = new LastUses(records, warnings);
    this.#answers = new RecordCache((accessKeyId) => this.#find(accessKeyId), ANSWER_AGE);
    records.watch((name) => this.#forget(name));
  }

  /** Finds a key by its id, as a verifier needs it. What was revoked of its subject, or of everybody, it says too. */
  find(accessKeyId: string): Promise<StoredKey | undefined> {
    return Promise.resolve(this.#answers.get(accessKeyId));
  }

  /**
   * Makes the store, without a key, if it is not there: for a server that only remembers what is revoked of sessions, and after the
   * records of a store were lost for good. Call it by hand, never when a server starts: it would hide that records were lost.
   *
   * Until a store is made, by this or by its first key, it rejects each question as `ERR_STORE_EMPTY`: nobody can tell whether it is
   * new or has lost its records, and requests are answered with 503.
   */
  async createEmpty(): Promise<void> {
    await this.#records.create('by-name');
  }

  /**
   * Goes on with an older copy of the store that was restored, on all servers: call it by hand, after what was revoked since is
   * revoked again. Until then servers that have seen the later store reject each question as `ERR_STORE_WENT_BACK`, and requests are
   * answered with 503. `revoke()` works meanwhile.
   *
   * @throws KeyStoreError `ERR_STORE_EMPTY`
   */
  async acceptRestore(): Promise<void> {
    await this.#records.acceptRestore();
  }

  recordUse(accessKeyId: string, now: number): void {
    this.#lastUses.add(accessKeyId, now);
  }

  /**
   * Makes a key and stores it. With an `algorithm` such as `ed25519` it makes a pair of keys, and stores the public one alone. With a
   * `publicKey` it stores that; its owner has the private one.
   *
   * @param owner whose it is; `subject` is the id of the key and `scopes` are none where not given
   * @returns the key. Its secret, or the private key, cannot be asked for again
   * @throws TypeError or RangeError where a field cannot be used
   */
  create(
    owner?: AccessKeyOwner & { readonly algorithm?: 'hmac-sha256' | undefined },
  ): Promise<AccessKey>;
  create(
    owner: AccessKeyOwner & { readonly algorithm: PublicKeyAlgorithm },
  ): Promise<GeneratedKeyPair>;
  create(owner: AccessKeyOwner & { readonly publicKey: PublicKeyInput }): Promise<PublicAccessKey>;
  create(owner: KeyRequest): Promise<GeneratedKey>;
  async create(owner: KeyRequest = {}): Promise<GeneratedKey> {
    const made = generateAccessKey(owner);
    const created = this.#clock();
    // One of three, by what was asked for.
    if ('credentials' in made) {
      const accessKey = { ...made.accessKey, created };
      await this.add(accessKey);
      return { ...made, accessKey };
    }
    const key = { ...made, created };
    await this.add(key);
    return key;
  }

  /**
   * Stores a key that was made elsewhere. The first one makes the store.
   *
   * @throws KeyStoreError `ERR_KEY_EXISTS`; `ERR_STORE_EMPTY` if the store was there before, and has lost its records
   * @throws TypeError where a field is missing or of the wrong type; where the secret is shorter than 16 bytes, repeats a
   * few characters, or is a known placeholder; where the public key is of another kind than we verify with, an RSA key is shorter than 2,048
   * bits, or anybody could sign for it. The secret is never part of the message
   */
  async add(accessKey: GivenAccessKey): Promise<void> {
    const key = checkKey(accessKey);
    await this.#records.create('first-record');
    const { keyVersion } = await this.#revocations.present(key.subject);
    await this.#keys.insert(key, keyVersion);
  }

  /** What is known of a key, without its secret. */
  async show(accessKeyId: string): Promise<AccessKeyInfo | undefined> {
    return this.#info(accessKeyId, await this.#lastUses.of([accessKeyId]));
  }

  /**
   * What is known of all keys, the oldest first, and last those whose records cannot be opened; `show()` says why.
   *
   * @param of whose keys: everybody's if not given. Those that cannot be opened are always there: they may be anybody's
   */
  async list(
    of: { readonly subject?: string | undefined } = {},
  ): Promise<(AccessKeyInfo | UnreadableKeyInfo)[]> {
    const { subject } = parseOptions('list of access keys', listSchema, of);
    const ids = (await this.#records.names()).flatMap((name) => accessKeyIdOf(name) ?? []);
    const uses = await this.#lastUses.of(ids);
    const infos = await Promise.all(
      ids.map((id) => this.#info(id, uses).catch((error) => unreadableInfo(id, error))),
    );
    return infos
      .filter((info) => info !== undefined)
      .filter((info) => subject === undefined || mayBeOf(subject, info))
      .sort((one, other) => createdOf(one) - createdOf(other));
  }

  /**
   * Makes a new key like an old one, which goes on working for a while. Where the old one was to expire, the new one lives as long.
   *
   * @param options `overlap`: seconds for which the old key still works, longer than its users take to fetch the new one. `publicKey`: that of
   * the new key, which need not replace a public one; without it the new key has a secret
   * @returns the new key. Its secret cannot be asked for again
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`, `ERR_KEY_INACTIVE`
   * @throws TypeError if the old key has a public key and no new one is given
   */
  rotate(accessKeyId: string, options: { readonly overlap: number }): Promise<AccessKey>;
  rotate(
    accessKeyId: string,
    options: { readonly overlap: number; readonly publicKey: PublicKeyInput },
  ): Promise<PublicAccessKey>;
  rotate(accessKeyId: string, options: RotateOptions): Promise<StoredKey>;
  async rotate(accessKeyId: string, options: RotateOptions): Promise<StoredKey> {
    const { overlap, publicKey } = parseOptions('rotation', rotateSchema, options);
    return this.#keys.rotate(accessKeyId, { overlap, publicKey, now: this.#clock() });
  }

  /**
   * Refuses a key until it is enabled again.
   *
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`
   */
  async disable(accessKeyId: string): Promise<void> {
    const disabled = (key: KeptKey): KeptKey => withFields(key, { status: 'disabled' });
    await this.#keys.change(accessKeyId, disabled, { revokes: true });
  }

  /**
   * Accepts a key again that was disabled.
   *
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`
   */
  async enable(accessKeyId: string): Promise<void> {
    await this.#keys.change(accessKeyId, (key) => withFields(key, { status: 'active' }));
  }

  /**
   * Revokes for good: a key, a session, all that a subject has, or all that was signed before a moment. The record of a key that
   * cannot be opened is written over: what was known of it is gone, and it is revoked.
   *
   * @param what see {@link Revocation}
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`; `ERR_MASTER_KEY` where there is none to seal with
   * @throws RangeError where `signedBefore` lies ahead: what is signed meanwhile would be refused for no reason
   */
  async revoke(what: Revocation): Promise<void> {
    const it = parseOptions('revocation', revocationSchema, what);
    if (!('accessKeyId' in it)) return this.#revocations.revoke(it);
    if (isSessionId(it.accessKeyId)) return this.#revocations.revokeSession(it.accessKeyId);
    const name = keyName(it.accessKeyId);
    const change: Change = (current) => {
      if (current === undefined) throw notFound(it.accessKeyId);
      return revoke(name, current);
    };
    await this.#records.update(name, change, { instead: TOMBSTONE, revokes: true });
  }

  /**
   * Seals everything with the master key that seals now, while servers run. Afterwards older ones are not needed any more.
   *
   * @returns how many records there were
   * @throws KeyStoreError `ERR_RECORD_UNREADABLE`, `ERR_MASTER_KEY`, naming the records that could not be opened: all others are sealed anew
   */
  async rewrap(): Promise<number> {
    const { total, failures } = await this.#records.reseal();
    if (failures.size > 0) throw notResealed({ total, failures });
    return total;
  }

  async isSessionRevoked(session: SessionFacts): Promise<boolean> {
    if (await this.#revocations.isOver(session)) return true;
    const { parent } = session;
    return parent !== undefined && (await this.find(parent))?.status !== 'active';
  }

  beginSession(subject: string): Promise<SessionBeginning> {
    return this.#revocations.beginSession(subject);
  }

  /**
   * Writes which keys were used last, then ends the store's own connections, or its watch on the file. Call it when the server
   * shuts down.
   */
  async close(): Promise<void> {
    await this.#lastUses.record();
    await this.#records.close();
    // Or what was read a moment ago would be found for a moment longer.
    this.#forget();
  }

  /** Forgets what was read of a record, or of all. */
  #forget(name?: string): void {
    this.#answers.forget();
    this.#kept.forget(name);
    this.#revocations.forget(name);
  }

  async #find(accessKeyId: string): Promise<StoredKey | undefined> {
    const key = await this.#kept.get(keyName(accessKeyId));
    // Also where there is none: strangers must not be able to tell by the time that it takes.
    const [own, all] = await this.#revocations.of(key?.accessKey.subject ?? '');
    return key === undefined ? undefined : limited(key, own, all);
  }

  async #info(
    accessKeyId: string,
    uses: ReadonlyMap<string, number>,
  ): Promise<AccessKeyInfo | undefined> {
    const key = await this.find(accessKeyId);
    return key && infoOf(key, uses.get(accessKeyId));
  }
}
