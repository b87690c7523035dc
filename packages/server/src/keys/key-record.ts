import { quote } from '@countersign/shared';
import * as z from 'zod';
import { given, parseOptions } from '../lib/options.ts';
import type { AccessKey, AccessKeyMetadata, PublicAccessKey } from '../verify/key-store.ts';
import {
  accessKeyMetadataSchema,
  accessKeySchema,
  keptPublicKeySchema,
  publicAccessKeySchema,
  time,
} from './access-key-schema.ts';
import { parseMetadata, type StoredRecord } from './record-store.ts';
import { SESSION_PREFIX } from './session-revocations.ts';

/** A key as our stores keep it. */
export type StoredKey = AccessKey | PublicAccessKey;

/** A key, and of which version its subject's keys were when it came to the store. */
export interface KeptKey {
  readonly accessKey: StoredKey;
  readonly version: number;
  /** The key that takes its place, so whose doing its end is; and when it would have ended without. */
  readonly rotated?: { readonly to: string; readonly expiresAt?: number | undefined } | undefined;
}

/** What is left of a key that was revoked though its record could not be read: nobody knows whose it was. */
export const TOMBSTONE: StoredRecord = {
  metadata: { subject: '', scopes: [], status: 'revoked', version: 0 },
  secret: '',
};

const keptSchema = accessKeyMetadataSchema.extend({
  subject: accessKeyMetadataSchema.shape.subject.or(z.literal('')),
  rotated: z.strictObject({ to: z.string(), expiresAt: time.optional() }).optional(),
  publicKey: keptPublicKeySchema.optional(),
});

const PREFIX = 'key/';
/** What the record of a key is called. */
export const keyName = (accessKeyId: string): string => `${PREFIX}${accessKeyId}`;

/** The key that a record is of; `undefined` where it is of something else. */
export function accessKeyIdOf(name: string): string | undefined {
  return name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;
}

/** Checks a key where it enters a store, and copies it. */
export function checkKey(accessKey: unknown): StoredKey {
  const { secretAccessKey, publicKey } = (accessKey ?? {}) as Partial<PublicAccessKey>;
  if (secretAccessKey !== undefined && publicKey !== undefined)
    throw new TypeError(
      'Cannot add access key: expected "secretAccessKey" or "publicKey", got both',
    );
  const schema = publicKey === undefined ? accessKeySchema : publicAccessKeySchema;
  const key = given(parseOptions('access key', schema, accessKey)) as StoredKey;
  if (key.accessKeyId.startsWith(SESSION_PREFIX))
    throw new TypeError(
      `Cannot add access key ${quote(key.accessKeyId)}: ids of sessions begin with ${SESSION_PREFIX}`,
    );
  return key;
}

/**
 * A key as it is kept.
 *
 * @param version of its subject's keys: 0 where none of them were ever revoked together
 */
export function toRecord(
  { secretAccessKey = '', accessKeyId: _, ...metadata }: StoredKey,
  version = 0,
  rotated?: KeptKey['rotated'],
): StoredRecord {
  return {
    metadata: given({ ...metadata, version, rotated }),
    // A revoked key is never used again: its secret goes.
    secret: metadata.status === 'revoked' ? '' : secretAccessKey,
  };
}

/** What becomes of the record of a key that is revoked. */
export function revoke(name: string, record: StoredRecord): StoredRecord {
  try {
    const { accessKey, version, rotated } = readKey(name, record) as KeptKey;
    return toRecord({ ...accessKey, status: 'revoked' }, version, rotated);
  } catch {
    return TOMBSTONE;
  }
}

/** @throws KeyStoreError `ERR_RECORD_UNREADABLE` */
export function readKey(name: string, record: StoredRecord | undefined): KeptKey | undefined {
  if (record === undefined) return undefined;
  const { version, ...fields } = record.metadata;
  const { rotated, ...metadata } = parseMetadata(name, keptSchema, {
    ...fields,
    accessKeyId: accessKeyIdOf(name),
  });
  const { publicKey } = metadata;
  const accessKey = (
    publicKey === undefined ? { ...metadata, secretAccessKey: record.secret } : metadata
  ) as StoredKey;
  // Whoever finds a key holds what all other requests are judged by.
  Object.freeze(publicKey);
  Object.freeze(accessKey.scopes);
  Object.freeze(accessKey.audiences);
  return { accessKey: Object.freeze(accessKey), version: Number(version), rotated };
}

export function withFields(key: KeptKey, fields: Partial<AccessKeyMetadata>): KeptKey {
  return { ...key, accessKey: { ...key.accessKey, ...fields } };
}
