import { quote } from '@countersign/shared';
import type * as z from 'zod';
import { KeyStoreError } from './key-store-error.ts';

/** What a store keeps under a name: metadata, which can be read, and a secret, or none (`''`). */
export interface StoredRecord {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly secret: string;
}

/**
 * Where a key store keeps its records: in memory, in a file or in Redis. It knows nothing of keys.
 *
 * A store may be missing because it was never created, or because its records are lost. Then it
 * rejects each question and each change with `ERR_STORE_EMPTY`. Only `create()` creates it.
 */
export interface RecordStore {
  /**
   * Creates the store, if it is not there.
   *
   * @param how `first-record`: only if this process has never seen the store. If it has, the
   *   records are lost
   * @throws KeyStoreError `ERR_STORE_EMPTY`
   */
  create(how: 'by-name' | 'first-record'): Promise<void>;
  /**
   * Accepts an older copy of the store that was restored.
   *
   * @throws KeyStoreError `ERR_STORE_EMPTY`
   */
  acceptRestore(): Promise<void>;
  /**
   * Reads a record as it is now.
   *
   * @throws KeyStoreError `ERR_RECORD_LOST` if the store knows that the record must exist;
   *   `ERR_STORE_WENT_BACK` if the store has lost changes that this process has seen
   */
  read(name: string): Promise<StoredRecord | undefined>;
  /** The names of all records. */
  names(): Promise<readonly string[]>;
  /**
   * Changes a record in one step. If another process has changed it meanwhile, `change` is called
   * again with the new record.
   *
   * @param change returns the record to store, or `undefined` to remove it
   * @throws what `change` throws; then nothing is changed
   * @throws KeyStoreError `ERR_NOT_REPLICATED` if the record is changed, and a failover may lose
   *   the change
   */
  update(name: string, change: Change, how?: UpdateOptions): Promise<void>;
  /** Seals all records again that can be opened, and forgets the names of those that are over. */
  reseal(): Promise<Resealed>;
  /** When keys were last used, in Unix seconds, by the names of their records. */
  readUses(names: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Records when keys were used. A time earlier than the recorded one changes nothing. */
  writeUses(uses: ReadonlyMap<string, number>): Promise<void>;
  /**
   * Calls `listener` with the name of each record that is changed, here or by another process.
   * Without a name, any record may have changed.
   */
  watch(listener: (name?: string) => void): void;
  close(): Promise<void>;
}

export interface UpdateOptions {
  /**
   * The record to store if the present one cannot be opened. If not given, `update()` throws then.
   */
  readonly instead?: StoredRecord | undefined;
  /**
   * Whether the change takes rights away. Then it is made even if the store is too full for other
   * changes.
   */
  readonly revokes?: boolean | undefined;
}

/** How many records there were, and why some could not be sealed again, by their names. */
export interface Resealed {
  readonly total: number;
  readonly failures: ReadonlyMap<string, KeyStoreError>;
}

/** The error if some records could not be sealed again. */
export function notResealed({ total, failures }: Resealed): KeyStoreError {
  const [{ code, message }] = [...failures.values()] as [KeyStoreError];
  const names = Array.from(failures.keys(), (name) => quote(name, 160)).join(', ');
  return new KeyStoreError(
    code,
    `Sealed ${total - failures.size} of ${total} records again, but not ${names}: ${message}`,
    { cause: new AggregateError(failures.values()) },
  );
}

/**
 * Returns what to store in place of a record. If its metadata has `until` (Unix seconds), the
 * record may be removed later.
 */
export type Change = (current: StoredRecord | undefined) => StoredRecord | undefined;

/**
 * Seconds for which a record is kept beyond its `until`. Otherwise a command on a machine whose
 * clock is some days ahead would remove records of revocations too early.
 */
const KEPT_BEYOND = 30 * 86_400;

/** Whether the time of a record is over, so that it can be removed. */
export function isOver({ until }: Readonly<Record<string, unknown>>, now: number): boolean {
  return typeof until === 'number' && until + KEPT_BEYOND < now;
}

/**
 * Parses the metadata of a record.
 *
 * @throws KeyStoreError `ERR_RECORD_UNREADABLE`
 */
export function parseMetadata<S extends z.ZodType>(
  name: string,
  schema: S,
  metadata: StoredRecord['metadata'],
): z.output<S> {
  const parsed = schema.safeParse(metadata);
  if (parsed.success) return parsed.data;
  const cause = parsed.error;
  const { path, message } = cause.issues[0] as z.core.$ZodIssue;
  throw new KeyStoreError(
    'ERR_RECORD_UNREADABLE',
    `Cannot read the record ${quote(name, 160)}: ${path.join('.')}: ${message}`,
    { cause },
  );
}
