import { quote } from '@countersign/shared';
import type * as z from 'zod';
import { KeyStoreError } from './key-store-error.ts';

/** What lies under a name: metadata that may be read, and a secret, or none (`''`). */
export interface StoredRecord {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly secret: string;
}

/**
 * Where a key store keeps its records: memory, a file, Redis. It knows nothing of keys.
 *
 * A store that is not there, since it was never made or has lost its records, rejects each question and each change with
 * `ERR_STORE_EMPTY`: only `create()` makes it.
 */
export interface RecordStore {
  /**
   * Makes the store, if it is not there.
   *
   * @param how `first-record`: only if this process has not seen it. One that was there has lost its records
   * @throws KeyStoreError `ERR_STORE_EMPTY`
   */
  create(how: 'by-name' | 'first-record'): Promise<void>;
  /**
   * Goes on with an older copy of the store that was restored.
   *
   * @throws KeyStoreError `ERR_STORE_EMPTY`
   */
  acceptRestore(): Promise<void>;
  /**
   * @throws KeyStoreError `ERR_RECORD_LOST` if the store knows that there must be such a record; `ERR_STORE_WENT_BACK` if it has
   * lost changes that this process has seen
   */
  read(name: string): Promise<StoredRecord | undefined>;
  /** The names of all records that there are. */
  names(): Promise<readonly string[]>;
  /**
   * Replaces a record in one step: where somebody else has changed it meanwhile, `change` is called again with what is there now.
   *
   * @param change gives what shall be there: `undefined` for nothing
   * @throws what `change` throws: then nothing is changed
   * @throws KeyStoreError `ERR_NOT_REPLICATED` where it is changed, and may be lost
   */
  update(name: string, change: Change, how?: UpdateOptions): Promise<void>;
  /** Seals all records anew that can be opened, and forgets the names of those that are over. */
  reseal(): Promise<Resealed>;
  /** When keys were last used, in Unix seconds, by the names of their records. */
  readUses(names: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Records that keys were used: the latest time of each counts. */
  writeUses(uses: ReadonlyMap<string, number>): Promise<void>;
  /** Calls `listener` whenever somebody, here or elsewhere, has changed a record, or without a name perhaps any. */
  watch(listener: (name?: string) => void): void;
  close(): Promise<void>;
}

export interface UpdateOptions {
  /** What shall be there if what is there cannot be opened; if not given, that is thrown. */
  readonly instead?: StoredRecord | undefined;
  /** Whether it takes rights away. Then it is made also if there is no room for other changes. */
  readonly revokes?: boolean | undefined;
}

/** How many records there were, and why some could not be sealed anew, by their names. */
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
    `Sealed ${total - failures.size} of ${total} records anew, but not ${names}: ${message}`,
    { cause: new AggregateError(failures.values()) },
  );
}

/** What shall become of a record. A metadata may say `until` (Unix seconds): then the record may go. */
export type Change = (current: StoredRecord | undefined) => StoredRecord | undefined;

/** Seconds beyond its time for which a record is kept: one command whose clock is some days ahead must not bring back what it says is revoked. */
const KEPT_BEYOND = 30 * 86_400;

/** Whether a record has had its time, and may go. */
export function isOver({ until }: Readonly<Record<string, unknown>>, now: number): boolean {
  return typeof until === 'number' && until + KEPT_BEYOND < now;
}

/**
 * What metadata say, as whoever reads it needs it.
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
