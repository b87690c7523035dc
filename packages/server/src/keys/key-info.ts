import { LATEST_TIME } from '@countersign/shared';
import type { AccessKeyMetadata, PublicKey } from '../verify/key-store.ts';
import type { StoredKey } from './key-record.ts';
import { isUnreadable } from './key-store-error.ts';

/** An access key without its secret. */
export interface AccessKeyInfo extends AccessKeyMetadata {
  /** Unix seconds, up to about a minute old. */
  readonly lastUsedAt?: number | undefined;
  /** Only of a key that has no secret. */
  readonly publicKey?: PublicKey | undefined;
}

/**
 * A key that is refused because its record cannot be opened. The record may be forged, so only the
 * id is shown.
 */
export interface UnreadableKeyInfo {
  readonly accessKeyId: string;
  readonly status: 'unreadable';
}

/** @param lastUsedAt Unix seconds; `undefined` for never */
export function infoOf(key: StoredKey, lastUsedAt: number | undefined): AccessKeyInfo {
  const { secretAccessKey: _, signedSince: __, ...info } = key;
  return lastUsedAt === undefined ? info : { ...info, lastUsedAt };
}

/** @throws `error` itself, if it does not say that the record is unreadable */
export function unreadableInfo(accessKeyId: string, error: unknown): UnreadableKeyInfo {
  if (!isUnreadable(error)) throw error;
  return { accessKeyId, status: 'unreadable' };
}

/**
 * Whether a key may belong to a subject. The subject of an unreadable key is unknown, so it may.
 */
export function mayBeOf(subject: string, info: AccessKeyInfo | UnreadableKeyInfo): boolean {
  return info.status === 'unreadable' || info.subject === subject;
}

/** Sort order of keys. Keys that cannot be read come last. */
export function createdOf(info: AccessKeyInfo | UnreadableKeyInfo): number {
  return info.status === 'unreadable' ? LATEST_TIME : (info.created ?? 0);
}
