import { LATEST_TIME, quote } from '@countersign/shared';
import * as z from 'zod';
import { given } from '../lib/options.ts';
import type { PublicKeyInput } from '../verify/key-store.ts';
import { generateAccessKey } from './generate-access-key.ts';
import { type KeptKey, type StoredKey, withFields } from './key-record.ts';
import { KeyStoreError } from './key-store-error.ts';

export const rotateSchema = z.strictObject({
  overlap: z
    .number()
    .min(0)
    .max(366 * 86_400),
  publicKey: z.custom<PublicKeyInput>().optional(),
});

export interface RotateOptions {
  readonly overlap: number;
  readonly publicKey?: PublicKeyInput | undefined;
}

/**
 * Makes the successor of a key: with the same subject and rights, and the same length of life.
 *
 * @param now Unix seconds
 * @param publicKey the public key of the successor; if not given, it has a new secret
 * @throws KeyStoreError `ERR_KEY_INACTIVE`
 * @throws TypeError if the old key has a public key and no new one is given: a secret in its place
 *   would be less safe
 */
export function successorOf(
  { accessKey: old, rotated }: KeptKey,
  now: number,
  publicKey?: PublicKeyInput,
): StoredKey {
  checkActive(old);
  if (!(now < endOf(old))) throw inactive(old);
  if (old.secretAccessKey === undefined && publicKey === undefined)
    throw new TypeError(
      `Cannot rotate access key ${quote(old.accessKeyId)}: it has a public key, so give the new one as "publicKey"`,
    );
  const { subject, scopes, audiences, label, notBefore, created = now } = old;
  // An earlier rotation may have limited the life of the old key. The successor gets the full
  // life.
  const { expiresAt } = rotated ?? old;
  const end = expiresAt === undefined ? undefined : now + expiresAt - created;
  const owner = given({ subject, scopes, audiences, label, notBefore });
  return {
    ...(publicKey === undefined
      ? generateAccessKey(owner)
      : generateAccessKey({ ...owner, publicKey })),
    ...given({
      created: now,
      expiresAt: end === undefined ? undefined : Math.min(end, LATEST_TIME),
    }),
  };
}

/**
 * The old key with its new end: after the overlap, or earlier if it was to expire earlier.
 *
 * @throws KeyStoreError `ERR_KEY_INACTIVE` if the key was disabled meanwhile
 */
export function rotate(key: KeptKey, to: string, end: number): KeptKey {
  checkActive(key.accessKey);
  const { expiresAt } = key.rotated ?? key.accessKey;
  const ending = withFields(key, { expiresAt: Math.min(endOf(key.accessKey), end) });
  return { ...ending, rotated: { to, expiresAt } };
}

/** Undoes {@link rotate}: the old key gets its old end back. */
export function unrotate(key: KeptKey, to: string, before: KeptKey): KeptKey {
  // A later rotation has set the end that the key has now.
  if (key.rotated?.to !== to) return key;
  const { accessKey, rotated } = before;
  return { ...withFields(key, { expiresAt: accessKey.expiresAt }), rotated };
}

function checkActive(key: StoredKey): void {
  if (key.status !== 'active') throw inactive(key);
}

function inactive({ accessKeyId }: StoredKey): KeyStoreError {
  return new KeyStoreError(
    'ERR_KEY_INACTIVE',
    `Cannot rotate access key ${quote(accessKeyId)}: it is disabled or has expired`,
  );
}

function endOf({ expiresAt = Number.POSITIVE_INFINITY }: StoredKey): number {
  return expiresAt;
}
