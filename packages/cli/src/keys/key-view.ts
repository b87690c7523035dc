import type { AccessKey, AccessKeyInfo, ManagedKeyStore } from '@countersign/server';
import { formatMinute, formatTime } from '../lib/time.ts';
import { formatFields, formatTable } from '../terminal/table.ts';

/** A key in a list, including one that cannot be read. */
export type ListedKey = Awaited<ReturnType<ManagedKeyStore['list']>>[number];

/** Formats a new key with its secret, which is printed this once. */
export function newKeyText(key: AccessKey): string {
  const { secretAccessKey, ...info } = key;
  const { 'Access key ID': id, ...rest } = fieldsOf(info);
  return formatFields({ 'Access key ID': id, 'Secret access key': secretAccessKey, ...rest });
}

export function keyText(key: AccessKeyInfo, now: number): string {
  return formatFields({
    ...fieldsOf(key),
    Status: stateOf(key, now),
    'Last used': key.lastUsedAt === undefined ? 'never' : formatTime(key.lastUsedAt),
  });
}

export function keyTable(keys: readonly ListedKey[], now: number): string {
  const heads = ['ID', 'SUBJECT', 'STATUS', 'SCOPES', 'CREATED (UTC)', 'EXPIRES', 'LAST USED'];
  const rows = keys.map((key) =>
    key.status === 'unreadable'
      ? [key.accessKeyId, '-', key.status, '-', '-', '-', '-']
      : rowOf(key, now),
  );
  return formatTable([[...heads, 'LABEL'], ...rows]);
}

function rowOf(key: AccessKeyInfo, now: number): string[] {
  return [
    key.accessKeyId,
    key.subject || '-',
    stateOf(key, now),
    key.scopes.join(' ') || '-',
    minuteOf(key.created),
    minuteOf(key.expiresAt),
    minuteOf(key.lastUsedAt),
    key.label ?? '',
  ];
}

function fieldsOf(key: AccessKeyInfo): Record<string, string | undefined> {
  // The key was revoked while its record could not be decrypted, so nothing else is known of it.
  if (key.subject === '') return { 'Access key ID': key.accessKeyId, Subject: 'unknown' };
  return {
    'Access key ID': key.accessKeyId,
    Subject: key.subject,
    Label: key.label,
    Scopes: key.scopes.join(' ') || 'none',
    Algorithm: key.publicKey?.algorithm,
    Audiences: key.audiences?.join(' ') ?? 'all',
    Created: timeOf(key.created),
    'Not before': timeOf(key.notBefore),
    Expires: timeOf(key.expiresAt) ?? 'never',
  };
}

/** The state as a verifier sees it now, from the status and the times. */
function stateOf({ status, notBefore = 0, expiresAt }: AccessKeyInfo, now: number): string {
  if (status !== 'active') return status;
  if (expiresAt !== undefined && expiresAt <= now) return 'expired';
  return notBefore > now ? 'not yet valid' : 'active';
}

function timeOf(seconds: number | undefined): string | undefined {
  return seconds === undefined ? undefined : formatTime(seconds);
}

function minuteOf(seconds: number | undefined): string {
  return seconds === undefined ? '-' : formatMinute(seconds);
}
