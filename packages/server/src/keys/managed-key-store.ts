import { quote } from '@countersign/shared';
import * as z from 'zod';
import { parseOptions } from '../options.ts';
import { generateAccessKey } from './generate-access-key.ts';
import {
  type AccessKey,
  type AccessKeyPolicy,
  accessKeyPolicySchema,
  accessKeySchema,
  type KeyStore,
  time,
} from './key-store.ts';
import { KeyStoreError } from './key-store-error.ts';
import { RecordCache } from './record-cache.ts';
import type { RecordStore, StoredRecord } from './record-store.ts';
import {
  LONGEST_SESSION,
  type Revocations,
  SESSION_PREFIX,
  type SessionFacts,
} from './revocations.ts';

/** An access key as it can be shown: without its secret. */
export interface AccessKeyInfo extends AccessKeyPolicy {
  /** Unix seconds, to the minute or so. */
  readonly lastUsedAt?: number | undefined;
}

/** Whose key it is, and what it may be used for. Times are Unix seconds. */
export type AccessKeyOwner = Partial<
  Pick<AccessKey, 'subject' | 'scopes' | 'audiences' | 'label' | 'notBefore' | 'expiresAt'>
>;

/**
 * What is revoked, for good and on all servers at once:
 *
 * - `accessKeyId`: a key and the sessions that were lent out on it, or one session.
 * - `subject`: all keys and all sessions that somebody has now; with `only: 'sessions'` not the keys.
 * - `everybody: 'sessions'`: all sessions that there are.
 * - `signedBefore` (Unix seconds), for everybody or for one `subject`: what was signed earlier, and all sessions that began earlier,
 *   by the clocks of who signed.
 */
export type Revocation =
  | { readonly accessKeyId: string }
  | { readonly subject: string; readonly only?: 'sessions' | undefined }
  | { readonly everybody: 'sessions' }
  | { readonly subject?: string | undefined; readonly signedBefore: number };

/** Seconds between two reads of a record that nobody says was changed. */
const MAX_AGE = 3;
/** Seconds for which an answer is kept that was put together of them: with those, how long a revocation takes where no message comes. */
const ANSWER_AGE = 1;
/** Seconds between two notes of what keys were used. */
const NOTE_EVERY = 60;
/** How far the clocks of servers may differ, in seconds. */
const SKEW = 5;

/**
 * What is kept of a subject, or of everybody. Versions rather than times where all is ended that there is: clocks of servers differ,
 * and a key from one that is ahead would live on.
 */
const cutoffsSchema = z.strictObject({
  keyVersion: z.int().min(0).optional(),
  sessionVersion: z.int().min(0).optional(),
  signedSince: time.optional(),
  sessionsSince: time.optional(),
  until: time.optional(),
});
type Cutoffs = z.output<typeof cutoffsSchema>;
type CutoffsOf = readonly [own: Cutoffs | undefined, all: Cutoffs | undefined];

const EVERYBODY = 'everybody';
const keyName = (accessKeyId: string): string => `key/${accessKeyId}`;
const subjectName = (subject: string): string => `subject/${subject}`;
const sessionName = (accessKeyId: string): string => `session/${accessKeyId}`;

const rotateSchema = z.strictObject({
  overlap: z
    .number()
    .min(0)
    .max(366 * 86_400),
});
const revocationSchema = z.union([
  z.strictObject({ accessKeyId: accessKeyPolicySchema.shape.accessKeyId }),
  z.strictObject({
    subject: accessKeyPolicySchema.shape.subject,
    only: z.literal('sessions').optional(),
  }),
  z.strictObject({ everybody: z.literal('sessions') }),
  z.strictObject({ subject: accessKeyPolicySchema.shape.subject.optional(), signedBefore: time }),
]);

/**
 * The life of access keys, written once for all places where they are kept: `MemoryKeyStore`, `FileKeyStore` and `RedisKeyStore`
 * are this over records of their own.
 */
export class ManagedKeyStore implements KeyStore, Revocations {
  readonly #records: RecordStore;
  readonly #clock: () => number;
  /** What is found, put together of what follows. */
  readonly #answers: RecordCache<AccessKey>;
  readonly #keys: RecordCache<KeptKey>;
  readonly #cutoffs: RecordCache<Cutoffs>;
  /** Uses that are not noted yet. */
  readonly #uses = new Map<string, number>();
  #noting: NodeJS.Timeout | undefined;

  /** @param clock Unix seconds */
  protected constructor(records: RecordStore, clock: () => number) {
    this.#records = records;
    this.#clock = clock;
    this.#keys = new RecordCache(async (name) => readKey(name, await records.read(name)), MAX_AGE);
    this.#cutoffs = new RecordCache(
      async (name) => readCutoffs(name, await records.read(name)),
      MAX_AGE,
    );
    this.#answers = new RecordCache((accessKeyId) => this.#find(accessKeyId), ANSWER_AGE);
    records.watch((name) => {
      this.#answers.forget();
      this.#keys.forget(name);
      this.#cutoffs.forget(name);
    });
  }

  /** Finds a key by its id, as a verifier needs it. What was revoked of its subject, or of everybody, it says too. */
  find(accessKeyId: string): Promise<AccessKey | undefined> {
    return Promise.resolve(this.#answers.get(accessKeyId));
  }

  noteUse(accessKeyId: string, now: number): void {
    this.#uses.set(accessKeyId, now);
    if (this.#noting !== undefined) return;
    this.#noting = setTimeout(() => void this.#noteUses(), NOTE_EVERY * 1000).unref();
  }

  /**
   * Makes a key and stores it.
   *
   * @param owner whose it is; `subject` is `user` and `scopes` are none where not given
   * @returns the key. Its secret cannot be asked for again
   * @throws TypeError or RangeError where a field cannot be used
   */
  async create(owner: AccessKeyOwner = {}): Promise<AccessKey> {
    const made = generateAccessKey(owner);
    const key = { ...made, created: this.#clock() };
    await this.add(key);
    return key;
  }

  /**
   * Stores a key that was made elsewhere.
   *
   * @throws KeyStoreError `ERR_KEY_EXISTS`
   * @throws TypeError where a field is missing or of the wrong type; where the secret is shorter than 16 bytes, repeats a
   * few characters, or is a known placeholder. The secret is never part of the message
   */
  async add(accessKey: AccessKey): Promise<void> {
    const key = checkKey(accessKey);
    const { keyVersion } = await this.#readCutoffs(subjectName(key.subject));
    await this.#insert(key, keyVersion);
  }

  /** What is known of a key, without its secret. */
  async show(accessKeyId: string): Promise<AccessKeyInfo | undefined> {
    const [info] = await this.#infos([keyName(accessKeyId)]);
    return info;
  }

  /**
   * What is known of all keys, the oldest first.
   *
   * @param of whose keys: everybody's if not given
   */
  async list(of: { readonly subject?: string | undefined } = {}): Promise<AccessKeyInfo[]> {
    const names = await this.#records.names();
    const infos = await this.#infos(names.filter((name) => name.startsWith(keyName(''))));
    return infos
      .filter(({ subject }) => of.subject === undefined || subject === of.subject)
      .sort((one, other) => (one.created ?? 0) - (other.created ?? 0));
  }

  /**
   * Makes a new key like an old one, which goes on working for a while. Where the old one was to expire, the new one lives as long.
   *
   * @param overlap seconds for which the old key still works: longer than its users take to fetch the new one
   * @returns the new key. Its secret cannot be asked for again
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`, `ERR_KEY_INACTIVE`
   */
  async rotate(accessKeyId: string, options: { readonly overlap: number }): Promise<AccessKey> {
    const { overlap } = parseOptions('rotation', rotateSchema, options);
    const { accessKey: old, version } = await this.#present(accessKeyId);
    const now = this.#clock();
    const { subject, scopes, audiences, label, created, expiresAt } = old;
    if (old.status !== 'active' || !(now < (expiresAt ?? Number.POSITIVE_INFINITY)))
      throw new KeyStoreError(
        'ERR_KEY_INACTIVE',
        `Cannot rotate access key ${quote(accessKeyId)}: it is disabled or has expired`,
      );
    const life = expiresAt === undefined ? undefined : expiresAt - (created ?? now);
    const fresh: AccessKey = {
      ...generateAccessKey(given({ subject, scopes, audiences, label })),
      created: now,
      ...(life === undefined ? {} : { expiresAt: now + life }),
    };
    // Of the same version: where all keys of the subject are revoked meanwhile, it is among them.
    await this.#insert(fresh, version);
    try {
      await this.#change(accessKeyId, (key) => ({
        ...key,
        expiresAt: Math.min(key.expiresAt ?? Number.POSITIVE_INFINITY, now + overlap),
      }));
    } catch (error) {
      // Somebody has revoked the old one meanwhile: nobody may get a new one of it.
      await this.#records.update(keyName(fresh.accessKeyId), () => undefined);
      throw error;
    }
    return fresh;
  }

  /**
   * Refuses a key until it is enabled again.
   *
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`
   */
  async disable(accessKeyId: string): Promise<void> {
    await this.#change(accessKeyId, (key) => ({ ...key, status: 'disabled' }));
  }

  /**
   * Accepts a key again that was disabled.
   *
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`, `ERR_KEY_REVOKED`
   */
  async enable(accessKeyId: string): Promise<void> {
    await this.#change(accessKeyId, (key) => ({ ...key, status: 'active' }));
  }

  /**
   * Revokes for good: a key, a session, all that a subject has, or all that was signed before a moment.
   *
   * @param what see {@link Revocation}
   * @throws KeyStoreError `ERR_KEY_NOT_FOUND`
   * @throws RangeError where `signedBefore` lies ahead: what is signed meanwhile would be refused for no reason
   */
  async revoke(what: Revocation): Promise<void> {
    const it = parseOptions('revocation', revocationSchema, what);
    const now = this.#clock();
    if ('accessKeyId' in it) return this.#revokeKey(it.accessKeyId, now);
    if ('everybody' in it) return this.#cutOff(EVERYBODY, endSessions);
    if (!('signedBefore' in it))
      return this.#cutOff(
        subjectName(it.subject),
        it.only === 'sessions' ? endSessions : endKeysAndSessions,
      );
    const { subject, signedBefore } = it;
    if (!(signedBefore <= now + SKEW))
      throw new RangeError(
        `Cannot revoke what is signed before ${signedBefore}: it is ${Math.ceil(signedBefore - now)} s ahead`,
      );
    await this.#cutOff(subject === undefined ? EVERYBODY : subjectName(subject), (cutoffs) => ({
      ...cutoffs,
      signedSince: Math.max(signedBefore, cutoffs.signedSince ?? 0),
      sessionsSince: Math.max(signedBefore, cutoffs.sessionsSince ?? 0),
    }));
  }

  /**
   * Seals everything with the master key that seals now, while servers run. Afterwards older ones are not needed any more.
   *
   * @returns how many records there were
   */
  async rewrap(): Promise<number> {
    const names = await this.#records.names();
    for (const name of names) await this.#records.update(name, (current) => current);
    return names.length;
  }

  async isSessionRevoked(session: SessionFacts): Promise<boolean> {
    const { accessKeyId, parent, subject, issuedAt, versions } = session;
    const [own, all] = await this.#cutoffsOf(subject);
    if ((await this.#cutoffs.get(sessionName(accessKeyId))) !== undefined) return true;
    // The store has never heard of sessions: it has lost its memory, and what was revoked with it.
    if (all?.sessionsSince === undefined) return true;
    const isCurrent =
      issuedAt >= Math.max(all.sessionsSince, own?.sessionsSince ?? 0) &&
      versions.all >= (all.sessionVersion ?? 0) &&
      versions.subject >= (own?.sessionVersion ?? 0);
    if (!isCurrent) return true;
    return parent !== undefined && (await this.find(parent))?.status !== 'active';
  }

  async beginSession(subject: string): Promise<Pick<SessionFacts, 'issuedAt' | 'versions'>> {
    const now = this.#clock();
    if ((await this.#readCutoffs(EVERYBODY)).sessionsSince === undefined)
      await this.#cutOff(EVERYBODY, (cutoffs) => ({ sessionsSince: now, ...cutoffs }));
    const own = await this.#readCutoffs(subjectName(subject));
    const all = await this.#readCutoffs(EVERYBODY);
    return {
      // A server whose clock is ahead may have revoked what began before a moment that has not come here.
      issuedAt: Math.max(now, own.sessionsSince ?? 0, all.sessionsSince ?? 0),
      versions: { subject: own.sessionVersion ?? 0, all: all.sessionVersion ?? 0 },
    };
  }

  /** Notes which keys were used, and lets go of files and connections. */
  async close(): Promise<void> {
    await this.#noteUses();
    await this.#records.close();
  }

  #cutoffsOf(subject: string): Promise<CutoffsOf> {
    const own = this.#cutoffs.get(subjectName(subject));
    return Promise.all([own, this.#cutoffs.get(EVERYBODY)]);
  }

  /** As they are now, not as they were a moment ago. */
  async #readCutoffs(name: string): Promise<Cutoffs> {
    return readCutoffs(name, await this.#records.read(name)) ?? {};
  }

  async #find(accessKeyId: string): Promise<AccessKey | undefined> {
    const key = await this.#keys.get(keyName(accessKeyId));
    // Also where there is none: strangers must not be able to tell by the time that it takes.
    const [own, all] = await this.#cutoffsOf(key?.accessKey.subject ?? '');
    return key === undefined ? undefined : limited(key, own, all);
  }

  async #infos(names: readonly string[]): Promise<AccessKeyInfo[]> {
    const uses = await this.#records.readUses(names);
    const infos = await Promise.all(
      names.map(async (name) => {
        const key = await this.find(name.slice(keyName('').length));
        if (key === undefined) return [];
        const { secretAccessKey: _, signedSince: __, ...info } = key;
        const lastUsedAt = Math.max(this.#uses.get(key.accessKeyId) ?? 0, uses.get(name) ?? 0);
        return [lastUsedAt > 0 ? { ...info, lastUsedAt } : info];
      }),
    );
    return infos.flat();
  }

  async #insert(key: AccessKey, version: number | undefined): Promise<void> {
    await this.#records.update(keyName(key.accessKeyId), (current) => {
      if (current !== undefined)
        throw new KeyStoreError(
          'ERR_KEY_EXISTS',
          `Cannot add access key ${quote(key.accessKeyId)}: there is one of this id`,
        );
      return toRecord(key, version);
    });
  }

  /**
   * A key as it is now, not as it was a moment ago.
   *
   * @throws KeyStoreError where there is none, or it is revoked: by itself, or with all keys of its subject
   */
  async #present(accessKeyId: string): Promise<KeptKey> {
    const name = keyName(accessKeyId);
    const key = readKey(name, await this.#records.read(name));
    if (key === undefined) throw notFound(accessKeyId);
    const own = await this.#readCutoffs(subjectName(key.accessKey.subject));
    if (limited(key, own, undefined).status === 'revoked') throw revoked(accessKeyId);
    return key;
  }

  async #change(accessKeyId: string, change: (key: AccessKey) => AccessKey): Promise<void> {
    const name = keyName(accessKeyId);
    await this.#present(accessKeyId);
    await this.#records.update(name, (current) => {
      const key = readKey(name, current);
      if (key === undefined) throw notFound(accessKeyId);
      if (key.accessKey.status === 'revoked') throw revoked(accessKeyId);
      return toRecord(change(key.accessKey), key.version);
    });
  }

  async #revokeKey(accessKeyId: string, now: number): Promise<void> {
    if (accessKeyId.startsWith(SESSION_PREFIX)) {
      const until = now + LONGEST_SESSION + SKEW;
      await this.#records.update(sessionName(accessKeyId), () => ({
        policy: { until },
        secret: '',
      }));
      return;
    }
    const name = keyName(accessKeyId);
    await this.#records.update(name, (current) => {
      const key = readKey(name, current);
      if (key === undefined) throw notFound(accessKeyId);
      return toRecord({ ...key.accessKey, status: 'revoked' }, key.version);
    });
  }

  /** Cutoffs only rise: of two that revoke at once both have their way. */
  async #cutOff(name: string, change: (cutoffs: Cutoffs) => Cutoffs): Promise<void> {
    await this.#records.update(name, (current) => ({
      policy: change(readCutoffs(name, current) ?? {}),
      secret: '',
    }));
  }

  async #noteUses(): Promise<void> {
    clearTimeout(this.#noting);
    this.#noting = undefined;
    const uses = new Map(Array.from(this.#uses, ([id, time]) => [keyName(id), time] as const));
    this.#uses.clear();
    if (uses.size === 0) return;
    try {
      await this.#records.writeUses(uses);
    } catch (error) {
      process.emitWarning(`Cannot note which keys were used: ${(error as Error).message}`, {
        code: 'COUNTERSIGN_KEY_STORE',
      });
    }
  }
}

/** Checks a key where it enters a store, and copies it. */
export function checkKey(accessKey: unknown): AccessKey {
  // Of what is no key at all nothing is shown: it may be the secret.
  const shown = typeof accessKey === 'object' ? accessKey : undefined;
  const key = parseOptions('access key', accessKeySchema, shown) as AccessKey;
  if (key.accessKeyId.startsWith(SESSION_PREFIX))
    throw new TypeError(
      `Cannot add access key ${quote(key.accessKeyId)}: ids of sessions begin with ${SESSION_PREFIX}`,
    );
  return key;
}

/** A key, and of which version its subject's keys were when it came to the store. */
interface KeptKey {
  readonly accessKey: AccessKey;
  readonly version: number;
}

/**
 * A key as it is kept.
 *
 * @param version of its subject's keys: 0 where none of them were ever revoked together
 */
export function toRecord(
  { secretAccessKey, accessKeyId: _, ...policy }: AccessKey,
  version = 0,
): StoredRecord {
  return {
    policy: given({ ...policy, version }),
    // A revoked key is never used again: its secret goes.
    secret: policy.status === 'revoked' ? '' : secretAccessKey,
  };
}

function readKey(name: string, record: StoredRecord | undefined): KeptKey | undefined {
  if (record === undefined) return undefined;
  const { policy, secret } = record;
  const { version, ...fields } = policy;
  const parsed = accessKeyPolicySchema.safeParse({
    ...fields,
    accessKeyId: name.slice(keyName('').length),
  });
  if (!parsed.success) throw unreadable(name, parsed.error);
  const accessKey = { ...parsed.data, secretAccessKey: secret } as AccessKey;
  // Whoever finds a key holds what all other requests are judged by.
  Object.freeze(accessKey.scopes);
  Object.freeze(accessKey.audiences);
  return { accessKey: Object.freeze(accessKey), version: Number(version) };
}

function readCutoffs(name: string, record: StoredRecord | undefined): Cutoffs | undefined {
  if (record === undefined) return undefined;
  const parsed = cutoffsSchema.safeParse(record.policy);
  if (!parsed.success) throw unreadable(name, parsed.error);
  return parsed.data;
}

/** A key, and what was revoked of all that its subject, or everybody, had. */
function limited(
  { accessKey, version }: KeptKey,
  own: Cutoffs | undefined,
  all: Cutoffs | undefined,
): AccessKey {
  if (own === undefined && all === undefined) return accessKey;
  if (!(version >= (own?.keyVersion ?? 0))) return { ...accessKey, status: 'revoked' };
  const signedSince = Math.max(own?.signedSince ?? 0, all?.signedSince ?? 0);
  return signedSince > 0 ? { ...accessKey, signedSince } : accessKey;
}

function endSessions(cutoffs: Cutoffs): Cutoffs {
  return { ...cutoffs, sessionVersion: (cutoffs.sessionVersion ?? 0) + 1 };
}

function endKeysAndSessions(cutoffs: Cutoffs): Cutoffs {
  return { ...endSessions(cutoffs), keyVersion: (cutoffs.keyVersion ?? 0) + 1 };
}

/** Only what is given: an option that is `undefined` must not overwrite a default. */
function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

function notFound(accessKeyId: string): KeyStoreError {
  return new KeyStoreError('ERR_KEY_NOT_FOUND', `There is no access key ${quote(accessKeyId)}`);
}

export function revoked(accessKeyId: string): KeyStoreError {
  return new KeyStoreError(
    'ERR_KEY_REVOKED',
    `Access key ${quote(accessKeyId)} is revoked, for good: make a new one`,
  );
}

function unreadable(name: string, cause: z.ZodError): KeyStoreError {
  const { path, message } = cause.issues[0] as z.core.$ZodIssue;
  return new KeyStoreError(
    'ERR_RECORD_UNREADABLE',
    `Cannot read the record ${quote(name, 160)}: ${path.join('.')}: ${message}`,
    { cause },
  );
}
