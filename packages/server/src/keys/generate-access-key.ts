import { randomBytes } from 'node:crypto';
import { kindOf } from '../options.ts';
import type { AccessKey } from './key-store.ts';

/** Crockford's base32: no I, L, O or U, so that an id survives being read aloud. */
const CROCKFORD = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/**
 * Makes an access key: `CSAK` and 20 random characters of Crockford base32 for its id, 32 random bytes in base64url for
 * its secret. Store it, and show the secret to its owner once.
 *
 * @param owner whose key it is, and what it may be used for; `subject` is the id of the key and `scopes` are none where not given
 * @throws TypeError if it is no object
 *
 * @example
 * ```ts
 * import { generateAccessKey } from '@countersign/server';
 *
 * const { accessKeyId, secretAccessKey } = generateAccessKey({ subject: 'alice' });
 * console.assert(/^CSAK[0-9A-Z]{20}$/.test(accessKeyId) && secretAccessKey.length === 43);
 * ```
 */
export function generateAccessKey(
  owner: Partial<
    Pick<AccessKey, 'subject' | 'scopes' | 'audiences' | 'label' | 'notBefore' | 'expiresAt'>
  > = {},
): AccessKey {
  if (kindOf(owner) !== 'object')
    throw new TypeError(
      `Cannot make access key: expected its owner, such as { subject: "alice" }, got ${kindOf(owner)}`,
    );
  const accessKeyId = `CSAK${encodeCrockford(randomBytes(20))}`;
  return {
    accessKeyId,
    secretAccessKey: randomBytes(32).toString('base64url'),
    // Of its own: keys of one subject share a budget of nonces, and are revoked together.
    subject: accessKeyId,
    scopes: [],
    status: 'active',
    ...owner,
  };
}

/** One character per byte, of which five bits count: as random as the bytes are. */
export function encodeCrockford(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => CROCKFORD[byte & 31]).join('');
}
