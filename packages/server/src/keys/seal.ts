import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { quote } from '@countersign/shared';
import { isUnreadable, KeyStoreError } from './key-store-error.ts';
import type { MasterKeys } from './master-keys.ts';
import type { Change, StoredRecord } from './record-store.ts';

/**
 * A record as it is stored in a file or in Redis. Its metadata can be read, its secret cannot, and
 * neither can be changed unnoticed.
 */
export interface SealedRecord {
  /** The metadata of the record, as JSON. */
  readonly policy: string;
  /** `v1.<master key id>.<nonce>.<secret, encrypted, and tag>`. */
  readonly sealed: string;
}

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const SEALED = /^v1\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9_-]{16})\.([A-Za-z0-9_-]{22,})$/;

/**
 * Seals a record with AES-256-GCM. Its name and its metadata are associated data. So it cannot be
 * opened under another name, or with more scopes.
 *
 * @throws KeyStoreError `ERR_MASTER_KEY`
 * @see NIST SP 800-38D
 */
export async function seal(
  name: string,
  record: StoredRecord,
  masterKeys: Pick<MasterKeys, 'current'>,
): Promise<SealedRecord> {
  const { id, bytes } = await masterKeys.current();
  const policy = JSON.stringify(record.metadata);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, bytes, nonce);
  cipher.setAAD(associatedData(name, policy));
  const encrypted = [cipher.update(record.secret, 'utf8'), cipher.final(), cipher.getAuthTag()];
  const sealed = `v1.${id}.${nonce.toString('base64url')}.${Buffer.concat(encrypted).toString('base64url')}`;
  return { policy, sealed };
}

/**
 * Opens what {@link seal} sealed.
 *
 * @throws KeyStoreError `ERR_RECORD_UNREADABLE` if it was changed, or sealed under another name;
 *   `ERR_MASTER_KEY`
 */
export async function open(
  name: string,
  { policy, sealed }: SealedRecord,
  masterKeys: MasterKeys,
): Promise<StoredRecord> {
  const [, id = '', nonce = '', encrypted = ''] = SEALED.exec(sealed) ?? [];
  if (id === '') throw unreadable(name, 'it is not sealed');
  const { bytes } = await masterKeys.get(id);
  const text = Buffer.from(encrypted, 'base64url');
  try {
    const decipher = createDecipheriv(CIPHER, bytes, Buffer.from(nonce, 'base64url'), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(associatedData(name, policy));
    decipher.setAuthTag(text.subarray(-TAG_BYTES));
    const secret = Buffer.concat([decipher.update(text.subarray(0, -TAG_BYTES)), decipher.final()]);
    return { metadata: JSON.parse(policy) as StoredRecord['metadata'], secret: secret.toString() };
  } catch {
    throw unreadable(name, `it was changed, or sealed with another master key than ${quote(id)}`);
  }
}

/**
 * Applies a change to a sealed record.
 *
 * @param instead the result if the record cannot be opened; if not given, that is thrown
 */
export async function changed(
  name: string,
  current: SealedRecord | undefined,
  masterKeys: MasterKeys,
  { change, instead }: { change: Change; instead: StoredRecord | undefined },
): Promise<StoredRecord | undefined> {
  let opened: StoredRecord | undefined;
  try {
    opened = current && (await open(name, current, masterKeys));
  } catch (error) {
    if (instead === undefined || !isUnreadable(error)) throw error;
    return instead;
  }
  return change(opened);
}

/**
 * Makes sure that this master key opens at least one record. An operator who has lost the master
 * key may go on with another one of the same name. Nothing else could open what that one seals.
 *
 * @param records by their names; reading stops at the first one that opens
 * @throws KeyStoreError `ERR_MASTER_KEY` if there are records, and none of them opens
 */
export async function checkMasterKeys(
  records:
    | Iterable<readonly [name: string, sealed: SealedRecord]>
    | AsyncIterable<readonly [name: string, sealed: SealedRecord]>,
  masterKeys: MasterKeys,
): Promise<void> {
  let failure: KeyStoreError | undefined;
  for await (const [name, sealed] of records) {
    try {
      await open(name, sealed, masterKeys);
      return;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      failure ??= error;
    }
  }
  if (failure === undefined) return;
  // The master key is missing: its error says so.
  if (failure.code === 'ERR_MASTER_KEY') throw failure;
  throw new KeyStoreError(
    'ERR_MASTER_KEY',
    `Cannot seal with this master key: it opens no record of this store, and no server could open what it seals. ${failure.message}`,
    { cause: failure },
  );
}

/** JSON separates the two parts, so none can be taken for the other. */
function associatedData(name: string, policy: string): Buffer {
  return Buffer.from(JSON.stringify(['countersign record 1', name, policy]));
}

function unreadable(name: string, why: string): KeyStoreError {
  return new KeyStoreError(
    'ERR_RECORD_UNREADABLE',
    `Cannot open the record ${quote(name, 160)}: ${why}; restore it, or remove it`,
  );
}
