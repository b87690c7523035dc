import { LATEST_TIME } from '@countersign/shared';
import type { AccessKeyMetadata, PublicKey } from '../verify/key-store.ts';
import type { StoredKey } from './key-record.ts';
import { isUnreadable } from './key-store-error.ts';

/** An access key as it can be shown: without its secret. */
export interface AccessKeyInfo extends AccessKeyMetadata {
  /** Unix seconds, to the minute or so. */
  readonly lastUsedAt?: number | undefined;
  /** If it has no secret. */
  readonly publicKey?: PublicKey | undefined;
}

/** A key that is refused because its record cannot be opened. What stands there may be forged: nothing of it is shown but the id. */
export interface UnreadableKeyInfo {
  readonly accessKeyId: string;
  readonly status: 'unreadable';
}

/** @param lastUsedAt Unix seconds; `undefined` for never */
export function infoOf(key: StoredKey, lastUsedAt: number | undefined): AccessKeyInfo {
  const { secretAccessKey: _, signedSince: __, ...info } = key;
  return lastUsedAt === undefined ? info : { ...info, lastUsedAt };
}

/** @throws `error` itself, where it says nothing of the record */
export function unreadableInfo(accessKeyId: string, error: unknown): UnreadableKeyInfo {
  if (!isUnreadable(error)) throw error;
  return { accessKeyId, status: 'unreadable' };
}

/** Whether somebody may be the subject of a key: of one that cannot be read it may be anybody. */
export function mayBeOf(subject: string, info: AccessKeyInfo | UnreadableKeyInfo): boolean {
  return info.status === 'unreadable' || info.subject === subject;
}

/** By what keys are sorted: those last of which it is not known. */
export function createdOf(info: AccessKeyInfo | UnreadableKeyInfo): number {
  return info.status === 'unreadable' ? LATEST_TIME : (info.created ?? 0);
}
