import * as z from 'zod';
import { given } from '../lib/options.ts';
import { accessKeyMetadataSchema, time } from './access-key-schema.ts';
import { RecordCache } from './record-cache.ts';
import {
  type Change,
  parseMetadata,
  type RecordStore,
  type StoredRecord,
  type UpdateOptions,
} from './record-store.ts';
import {
  LONGEST_SESSION,
  type SessionBeginning,
  type SessionFacts,
} from './session-revocations.ts';

/**
 * What to revoke, permanently and on all servers at once:
 *
 * - `accessKeyId`: a key and the sessions that were lent on it, or one session.
 * - `subject`: all keys and all sessions that the subject has now; with `only: 'sessions'` not the
 *   keys.
 * - `everybody: 'sessions'`: all sessions of all subjects.
 * - `signedBefore` (Unix seconds), of one `subject` or of all: every request that was signed
 *   earlier, and all sessions that began earlier, by the clocks of the signers.
 */
export type Revocation =
  | { readonly accessKeyId: string }
  | { readonly subject: string; readonly only?: 'sessions' | undefined }
  | { readonly everybody: 'sessions' }
  | { readonly subject?: string | undefined; readonly signedBefore: number };

const { accessKeyId, subject } = accessKeyMetadataSchema.shape;
export const revocationSchema = z.union(
  [
    z.strictObject({ accessKeyId }),
    z.strictObject({ subject, only: z.literal('sessions').optional() }),
    z.strictObject({ everybody: z.literal('sessions') }),
    z.strictObject({ subject: subject.optional(), signedBefore: time }),
  ],
  'one of { accessKeyId }, { subject }, { subject, only: "sessions" }, { everybody: "sessions" } and { signedBefore }, the last in Unix seconds and with a subject or without',
);
type BroadRevocation = Exclude<z.output<typeof revocationSchema>, { accessKeyId: string }>;

/**
 * What a record of revocations says of one subject, or of all subjects. A key or a session ends if
 * its version is lower than the one in the record. A version is used instead of a time because
 * clocks of servers differ: a key from a server whose clock is ahead would survive.
 *
 * A version only rises, and is at least the present time in milliseconds. So if a failover or a
 * restored copy loses a version, the next revocation still gets a higher one.
 */
const recordSchema = z.strictObject({
  keyVersion: z.int().min(0).optional(),
  sessionVersion: z.int().min(0).optional(),
  signedSince: time.optional(),
  sessionsSince: time.optional(),
  until: time.optional(),
});
export type RevocationRecord = z.output<typeof recordSchema>;

/** How far the clocks of servers may differ, in seconds. */
const SKEW = 5;

const EVERYBODY = 'everybody';
export const subjectName = (subject: string): string => `subject/${subject}`;
const sessionName = (accessKeyId: string): string => `session/${accessKeyId}`;

/** Records of what was revoked of sessions, of subjects and of all subjects. It knows no keys. */
export class RevocationRecords {
  readonly #records: RecordStore;
  readonly #clock: () => number;
  readonly #known: RecordCache<RevocationRecord>;

  /** @param clock Unix seconds */
  constructor(records: RecordStore, clock: () => number) {
    this.#records = records;
    this.#clock = clock;
    this.#known = new RecordCache(async (name) => parse(name, await records.read(name)));
  }

  /** Forgets a record that was changed, or all records. */
  forget(name?: string): void {
    this.#known.forget(name);
  }

  /** What is revoked of a subject, and of all subjects. */
  of(
    subject: string,
  ): Promise<readonly [own: RevocationRecord | undefined, all: RevocationRecord | undefined]> {
    const own = this.#known.get(subjectName(subject));
    return Promise.all([own, this.#known.get(EVERYBODY)]);
  }

  /** Reads what is revoked of a subject from the store, not from a cache. */
  present(subject: string): Promise<RevocationRecord> {
    return this.#read(subjectName(subject));
  }

  /**
   * @throws RangeError if `signedBefore` is more than 5 s in the future: requests signed until then
   * would be refused for no reason
   */
  async revoke(what: BroadRevocation): Promise<void> {
    if ('signedBefore' in what) return this.#revokeSigned(what.subject, what.signedBefore);
    const name = 'everybody' in what ? EVERYBODY : subjectName(what.subject);
    const withKeys = 'subject' in what && what.only !== 'sessions';
    await this.#revoke(name, ({ keyVersion, sessionVersion, ...record }) => ({
      ...record,
      sessionVersion: this.#after(sessionVersion),
      ...given({ keyVersion: withKeys ? this.#after(keyVersion) : keyVersion }),
    }));
  }

  async revokeSession(accessKeyId: string): Promise<void> {
    const record = toRecord({ until: this.#clock() + LONGEST_SESSION + SKEW });
    await this.#records.update(sessionName(accessKeyId), () => record, {
      instead: record,
      revokes: true,
    });
  }

  /** Whether a session is over. It does not look at the key that the session was lent on. */
  async isOver({ accessKeyId, subject, issuedAt, versions }: SessionFacts): Promise<boolean> {
    const [own, all] = await this.of(subject);
    if ((await this.#known.get(sessionName(accessKeyId))) !== undefined) return true;
    // The store knows nothing of sessions: it has lost its records, and the revocations with
    // them.
    if (all?.sessionsSince === undefined) return true;
    const isCurrent =
      issuedAt >= Math.max(all.sessionsSince, own?.sessionsSince ?? 0) &&
      versions.all >= (all.sessionVersion ?? 0) &&
      versions.subject >= (own?.sessionVersion ?? 0);
    return !isCurrent;
  }

  async beginSession(subject: string): Promise<SessionBeginning> {
    const now = this.#clock();
    if ((await this.#read(EVERYBODY)).sessionsSince === undefined)
      // The version also ends sessions from before the loss that a server whose clock is ahead
      // began.
      await this.#update(EVERYBODY, (record) => ({
        sessionsSince: now,
        sessionVersion: this.#after(),
        ...record,
      }));
    const own = await this.present(subject);
    const all = await this.#read(EVERYBODY);
    // If no message of changes arrives, the cache would judge the session by older records.
    for (const name of [subjectName(subject), EVERYBODY]) this.#known.forget(name);
    return {
      now,
      // A server whose clock is ahead may have revoked all sessions that begin before a time
      // that is still in the future here.
      issuedAt: Math.max(now, own.sessionsSince ?? 0, all.sessionsSince ?? 0),
      signedSince: Math.max(own.signedSince ?? 0, all.signedSince ?? 0),
      versions: { subject: own.sessionVersion ?? 0, all: all.sessionVersion ?? 0 },
    };
  }

  async #read(name: string): Promise<RevocationRecord> {
    return parse(name, await this.#records.read(name)) ?? {};
  }

  async #revokeSigned(subject: string | undefined, signedBefore: number): Promise<void> {
    const now = this.#clock();
    if (!(signedBefore <= now + SKEW))
      throw new RangeError(
        `Cannot revoke what is signed before ${signedBefore}: it is ${Math.ceil(signedBefore - now)} s ahead`,
      );
    await this.#revoke(subject === undefined ? EVERYBODY : subjectName(subject), (record) => ({
      ...record,
      signedSince: Math.max(signedBefore, record.signedSince ?? 0),
      sessionsSince: Math.max(signedBefore, record.sessionsSince ?? 0),
    }));
  }

  #after(version = 0): number {
    return Math.max(version + 1, Math.floor(this.#clock() * 1000));
  }

  #revoke(name: string, change: (record: RevocationRecord) => RevocationRecord): Promise<void> {
    return this.#update(name, change, { revokes: true });
  }

  /**
   * Changes a record. Versions and times only rise, so if two processes revoke at once, both
   * revocations hold.
   */
  async #update(
    name: string,
    change: (record: RevocationRecord) => RevocationRecord,
    how?: UpdateOptions,
  ): Promise<void> {
    const changeRecord: Change = (current) => toRecord(change(parse(name, current) ?? {}));
    await this.#records.update(name, changeRecord, how);
  }
}

function toRecord(record: RevocationRecord): StoredRecord {
  return { metadata: record, secret: '' };
}

function parse(name: string, record: StoredRecord | undefined): RevocationRecord | undefined {
  return record && parseMetadata(name, recordSchema, record.metadata);
}
