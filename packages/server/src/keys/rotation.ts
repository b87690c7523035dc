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
 * The key that takes the place of an old one: like it, and made to live as long.
 *
 * @param now Unix seconds
 * @param publicKey what it shall hold; a secret that is made here if not given
 * @throws KeyStoreError `ERR_KEY_INACTIVE`
 * @throws TypeError if the old one has a public key and no new one is given: a secret in its place would be a step back
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
  // What is left of it since an earlier rotation is not its life.
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
 * The old key: it ends when its successor's users have had time to fetch that, or sooner where it was to anyway.
 *
 * @throws KeyStoreError `ERR_KEY_INACTIVE` where somebody has disabled it meanwhile
 */
export function rotate(key: KeptKey, to: string, end: number): KeptKey {
  checkActive(key.accessKey);
  const { expiresAt } = key.rotated ?? key.accessKey;
  const ending = withFields(key, { expiresAt: Math.min(endOf(key.accessKey), end) });
  return { ...ending, rotated: { to, expiresAt } };
}

/** The old key, where nobody will hear of its successor: it lives on as it did before. */
export function unrotate(key: KeptKey, to: string, before: KeptKey): KeptKey {
  // Another rotation came after this one: its end is that one's doing.
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
