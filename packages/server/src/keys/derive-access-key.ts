import {
  type CountersignParams,
  countersign,
  describeValue,
  encodeUtf8,
  findSecretFlaw,
  isAudience,
  type KeyDerivation,
  kindOf,
  LATEST_TIME,
  quote,
} from '@countersign/shared';
import type { AccessKey, DerivedAccessKey } from '../verify/key-store.ts';

const DAY = 86_400;

/**
 * Derives what a verifier at the edge needs of an access key: signing keys for one audience and
 * some days. With them the verifier can check requests until the last day is over. It cannot get at
 * the secret, nor check or sign anything for another audience.
 *
 * @param accessKey with its secret
 * @param audience the service at whose edge the keys are used
 * @param day Unix seconds on the first day (UTC) on which the keys work: today if not given
 * @param days how many days: 2 if not given
 * @throws RangeError if `days` is not 1 to 31, or `day` is no time
 * @throws TypeError if the secret or the audience cannot be used
 *
 * @example
 * ```ts
 * import { deriveAccessKey, generateAccessKey } from '@countersign/server';
 *
 * const accessKey = generateAccessKey({ subject: 'alice' });
 * const atTheEdge = deriveAccessKey(accessKey, { audience: 'video-api' });
 * console.assert(Object.keys(atTheEdge.signingKeys).length === 2);
 * console.assert(atTheEdge.secretAccessKey === undefined);
 * ```
 * @see docs/wire-format.md, "Signing key"
 */
export function deriveAccessKey(
  accessKey: AccessKey,
  options: { readonly audience: string; readonly day?: number; readonly days?: number },
): DerivedAccessKey {
  for (const [what, value] of Object.entries({ 'an access key': accessKey, options }))
    if (kindOf(value) !== 'object')
      throw new TypeError(`Cannot derive access key: expected ${what}, got ${kindOf(value)}`);
  const { audience, day = Date.now() / 1000, days = 2 } = options;
  if (!(Number.isInteger(days) && days >= 1 && days <= 31))
    throw new RangeError(
      `Cannot derive access key for ${describeValue(days)} days: expected 1 to 31`,
    );
  if (!(typeof day === 'number' && day >= 0 && day <= LATEST_TIME - days * DAY))
    throw new RangeError(
      `Cannot derive access key starting on day ${describeValue(day)}: expected Unix seconds`,
    );
  const { secretAccessKey, ...metadata } = accessKey;
  // The edge cannot notice it: an attacker can derive the signing keys of an empty secret.
  const flaw = findSecretFlaw(secretAccessKey);
  if (flaw !== undefined)
    throw new TypeError(
      `Cannot derive access key ${quote(accessKey.accessKeyId)}: its secret is unusable: ${flaw}`,
    );
  if (typeof audience !== 'string' || !isAudience(audience))
    throw new TypeError(
      `Cannot derive access key for audience ${describeValue(audience)}: expected the name of a service`,
    );
  const secret = encodeUtf8(secretAccessKey);
  const signingKeys = Array.from({ length: days }, (_, index) => {
    const date = new Date((day + index * DAY) * 1000);
    const timestamp = `${date.toISOString().slice(0, 10).replaceAll('-', '')}T000000Z`;
    const params = { timestamp, audience } as CountersignParams;
    return [derivation.scope(params), derivation.key(secret, params)] as const;
  });
  return { ...metadata, signingKeys: Object.fromEntries(signingKeys) };
}

const derivation = countersign().derive as KeyDerivation<CountersignParams>;
