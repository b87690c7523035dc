import type { PublicKeyAlgorithm } from '@countersign/shared';
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
import type { AccessKeyInfo, UnreadableKeyInfo } from './key-info.ts';
import { KeyInfos } from './key-infos.ts';
import { checkKey, type KeptKey, keyName, type StoredKey, withFields } from './key-record.ts';
import { KeyRecords, limited } from './key-records.ts';
import { LastUses } from './last-uses.ts';
import { RecordCache } from './record-cache.ts';
import { notResealed, type RecordStore } from './record-store.ts';
import { type Revocation, RevocationRecords, revocationSchema } from './revocation-records.ts';
import { type RotateOptions, rotateSchema } from './rotation.ts';
import {
  isSessionId,
  type SessionBeginning,
  type SessionFacts,
  type SessionRevocations,
} from './session-revocations.ts';

/**
 * Seconds for which `find()` gives the same answer again. The records behind an answer are cached
 * for up to 3 s (see `RecordCache`). So if no announcement of a change arrives, a revocation takes
 * effect within 4 s.
 */
const ANSWER_AGE = 1;

/**
 * The life of access keys: create, show, rotate, disable, revoke. It is written once, for
 * `MemoryKeyStore`, `FileKeyStore` and `RedisKeyStore`. Each of them gives it a
 * {@link RecordStore}.
 *
 * A record is metadata, which can be read, and a secret, which is sealed: encrypted with a master
 * key. There is one record for each key (`key/…`). There is one more for each subject or session
 * with a revocation, and one for revocations of all subjects (see `RevocationRecords`). A key is
 * good if its own record says so, and no record of a revocation applies to it.
 *
 * A change is made in one step: `RecordStore.update()` gives the present record to a function, and
 * stores what that returns. If another process has changed the record meanwhile, the function is
 * called again with the new record. So two changes at once are made one after the other, and
 * neither undoes the other. Only `rotate()` changes two records: it stores the new key first, then
 * limits the life of the old one. If the second step fails, it takes back the first.
 *
 * Each request needs its key, so what was read is kept for a few seconds. Every change is announced
 * to all processes, which then forget what they know of that record. The cache times only limit the
 * delay if an announcement is lost.
 */
export class ManagedKeyStore implements KeyStore, SessionRevocations {
  readonly #records: RecordStore;
  readonly #clock: () => number;
  /** What `find()` answers, put together of the caches of keys and of revocations. */
  readonly #answers: RecordCache<StoredKey>;
  readonly #kept: RecordCache<KeptKey>;
  readonly #revocations: RevocationRecords;
  readonly #keys: KeyRecords;
  readonly #lastUses: LastUses;
  readonly #infos: KeyInfos;

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
    this.#infos = new KeyInfos(records, this.#lastUses, (id) => this.find(id));
    this.#answers = new RecordCache((accessKeyId) => this.#find(accessKeyId), ANSWER_AGE);
    records.watch((name) => this.#forget(name));
  }

  /**
   * Finds a key by its id, for a verifier. The answer takes into account the revocations of the
   * key, of its subject and of all subjects.
   */
  find(accessKeyId: string): Promise<StoredKey | undefined> {
    return Promise.resolve(this.#answers.get(accessKeyId));
  }

  /**
   * Creates the store without a key, if it is not there. Use it in two cases: the server has no
   * keys and only remembers revoked sessions; or the records are lost permanently. Call it by hand,
   * never when a server starts: it would hide that records were lost.
   *
   * The store is created by this method or by its first key. Until then it rejects each question
   * with `ERR_STORE_EMPTY`, since it cannot tell whether it is new or has lost its records.
   * Requests are answered with 503.
   */
  async createEmpty(): Promise<void> {
    await this.#records.create('by-name');
  }

  /**
   * Makes all servers accept an older copy that you restored. Call it by hand, after you have
   * repeated the revocations that the copy lacks. Until then, servers that knew newer records
   * reject each question with `ERR_STORE_WENT_BACK` and answer 503. `revoke()` works meanwhile.
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
   * Creates a key and stores it. With an `algorithm` such as `ed25519` it creates a pair of keys,
   * and stores only the public one. With a `publicKey` it stores that one; the owner has the
   * private half.
   *
   * @param owner whose key it is; if not given, `subject` is the id of the key, and it has no
   *   `scopes`
   * @returns the key. The store never shows the secret or the private key again
   * @throws TypeError or RangeError if a field cannot be used
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
    // `owner` decides the kind: a secret, a pair of keys, or a given public key.
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
   * Stores a key that was made elsewhere. The first key creates the store.
   *
   * @throws KeyStoreError `ERR_KEY_EXISTS`; `ERR_STORE_EMPTY` if this process has seen the store
   *   before, and its records are lost
   * @throws TypeError if a field is missing or of the wrong type; if the secret is shorter than 16
   * bytes, repeats a few characters, or is a known placeholder; if the public key is of a kind that
   * we do not verify with, an RSA key is shorter than 2,048 bits, or the key is one for which every
   * attacker can sign. The message never shows the secret
   */
  async add(accessKey: GivenAccessKey): Promise<void> {
    const key = checkKey(accessKey);
    await this.#records.create('first-record');
    const { keyVersion } = await this.#revocations.present(key.subject);
    await this.#keys.insert(key, keyVersion);
  }

  /** Shows a key without its secret. */
  async show(accessKeyId: string): Promise<AccessKeyInfo | undefined> {
    return this.#infos.show(accessKeyId);
  }

  /**
   * Lists all keys without their secrets, the oldest first. Keys whose records cannot be opened
   * come last; `show()` says why.
   *
   * @param of the subject whose keys to list: all subjects if not given. Keys that cannot be opened
   *   are always listed, since their subject is unknown
   */
  async list(
    of: { readonly subject?: string | undefined } = {},
  ): Promise<(AccessKeyInfo | UnreadableKeyInfo)[]> {
    return this.#infos.list(of);
  }

  /**
   * Replaces a key: creates a new one with the same subject and rights. The old one works for a
   * while longer. If it was made for 90 days, the new one lasts 90 days from now.
   *
   * @param options `overlap`: seconds for which the old key still works, from 0 to 366 days.
   *   `publicKey`: the public key of the new one; without it the new key has a secret
   * @returns the new key. The store never shows its secret again
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
   * Enables a disabled key again.
   *
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`
   */
  async enable(accessKeyId: string): Promise<void> {
    await this.#keys.change(accessKeyId, (key) => withFields(key, { status: 'active' }));
  }

  /**
   * Revokes permanently: a key, a session, all that a subject has, or all that was signed before a
   * time. If the record of a key cannot be opened, it is overwritten: the key is revoked, and what
   * the record said is lost.
   *
   * @param what see {@link Revocation}
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`; `ERR_MASTER_KEY` if there is no master key to seal
   *   with
   * @throws RangeError if `signedBefore` is more than 5 s in the future: requests signed until then
   *   would be refused for no reason
   */
  async revoke(what: Revocation): Promise<void> {
    const it = parseOptions('revocation', revocationSchema, what);
    if (!('accessKeyId' in it)) return this.#revocations.revoke(it);
    if (isSessionId(it.accessKeyId)) return this.#revocations.revokeSession(it.accessKeyId);
    await this.#keys.revoke(it.accessKeyId);
  }

  /**
   * Seals all records again with the current master key, while servers run. If this resolves, older
   * master keys are no longer needed.
   *
   * @returns how many records there are
   * @throws KeyStoreError `ERR_RECORD_UNREADABLE` or `ERR_MASTER_KEY`, with the names of the
   *   records that could not be opened. All others are sealed again
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
   * Records when each key was last used, then closes the store's own connections, or stops watching
   * the file. Call it when the server shuts down.
   */
  async close(): Promise<void> {
    await this.#lastUses.record();
    await this.#records.close();
    // A closed store must not answer from its cache.
    this.#forget();
  }

  /** Forgets what was read of one record. Without a name it forgets all. */
  #forget(name?: string): void {
    this.#answers.forget();
    this.#kept.forget(name);
    this.#revocations.forget(name);
  }

  async #find(accessKeyId: string): Promise<StoredKey | undefined> {
    const key = await this.#kept.get(keyName(accessKeyId));
    // Revocations are read for an unknown key too, so that both answers take the same time.
    // Otherwise an attacker could learn whether an id exists.
    const [own, all] = await this.#revocations.of(key?.accessKey.subject ?? '');
    return key === undefined ? undefined : limited(key, own, all);
  }
}
