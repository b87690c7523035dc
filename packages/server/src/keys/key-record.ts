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

/** A key as our stores keep it: with a secret, or with a public key. */
export type StoredKey = AccessKey | PublicAccessKey;

/**
 * A key and what its record says beside it. `version` is the version of its subject's keys when the
 * key was stored: a revocation of all keys of the subject raises that version, and so ends the key.
 */
export interface KeptKey {
  readonly accessKey: StoredKey;
  readonly version: number;
  /** The key that replaces this one, and when this one would have expired without the rotation. */
  readonly rotated?: { readonly to: string; readonly expiresAt?: number | undefined } | undefined;
}

/** The record of a revoked key whose old record could not be opened. Its subject is unknown. */
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
/** The name of the record of a key. */
export const keyName = (accessKeyId: string): string => `${PREFIX}${accessKeyId}`;

/** The id of the key whose record this is; `undefined` if it is a record of something else. */
export function accessKeyIdOf(name: string): string | undefined {
  return name.startsWith(PREFIX) ? name.slice(PREFIX.length) : undefined;
}

/** Checks a key that is to be stored, and copies it. */
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
 * Makes the record of a key.
 *
 * @param version of its subject's keys: 0 if they were never revoked together
 */
export function toRecord(
  { secretAccessKey = '', accessKeyId: _, ...metadata }: StoredKey,
  version = 0,
  rotated?: KeptKey['rotated'],
): StoredRecord {
  return {
    metadata: given({ ...metadata, version, rotated }),
    // A revoked key is never used again, so its secret is removed.
    secret: metadata.status === 'revoked' ? '' : secretAccessKey,
  };
}

/** Makes the record of a key that is revoked from its present one. */
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
  // All requests share this object, so a caller must not change it.
  Object.freeze(publicKey);
  Object.freeze(accessKey.scopes);
  Object.freeze(accessKey.audiences);
  return { accessKey: Object.freeze(accessKey), version: Number(version), rotated };
}

export function withFields(key: KeptKey, fields: Partial<AccessKeyMetadata>): KeptKey {
  return { ...key, accessKey: { ...key.accessKey, ...fields } };
}
