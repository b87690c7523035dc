/**
 * Private keys with `node:crypto`. `private-key.browser.ts` has the same names for the `browser`
 * condition.
 */
import {
  constants,
  createPrivateKey,
  createPublicKey,
  type JsonWebKey,
  KeyObject,
  sign,
} from 'node:crypto';
import {
  type Algorithm,
  algorithmsOf,
  FEWEST_RSA_BITS,
  type PublicKeyAlgorithm,
  type SignKey,
} from './algorithms.ts';
import { quote } from './errors.ts';
import { EXPECTED, isWebKey, noKey, webSignKey } from './web-keys.ts';

interface HowToSign {
  readonly hash: string | null;
  readonly dsaEncoding?: 'ieee-p1363';
  readonly padding?: number;
  readonly saltLength?: number;
}

/** ECDSA: r and s, one after the other. PSS: a salt as long as the hash (RFC 9421 section 3.3). */
const HOW: Readonly<Record<PublicKeyAlgorithm, HowToSign>> = {
  ed25519: { hash: null },
  'ecdsa-p256-sha256': { hash: 'sha256', dsaEncoding: 'ieee-p1363' },
  'ecdsa-p384-sha384': { hash: 'sha384', dsaEncoding: 'ieee-p1363' },
  'rsa-pss-sha512': { hash: 'sha512', padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 },
  'rsa-v1_5-sha256': { hash: 'sha256', padding: constants.RSA_PKCS1_PADDING },
};

/**
 * Prepares a private key for signing.
 *
 * @param asked the algorithm. If not given, the one that the key is for; `rsa-pss-sha512` for RSA
 * @throws TypeError if it is not a private key, or is for another algorithm. The message never
 * holds the key
 */
export function importPrivateKey(given: unknown, asked?: Algorithm): SignKey | Promise<SignKey> {
  if (isWebKey(given)) return webSignKey(given, asked);
  const key = readKey(given);
  if (key?.type !== 'private') throw noKey(EXPECTED);
  const algorithm = chooseAlgorithm(
    algorithmsOf(createPublicKey(key as never).export({ format: 'jwk' })),
    asked,
  );
  const { modulusLength = FEWEST_RSA_BITS } = key.asymmetricKeyDetails ?? {};
  if (!(modulusLength >= FEWEST_RSA_BITS))
    throw noKey(`it has ${modulusLength} bits, at least ${FEWEST_RSA_BITS} are needed`);
  const { hash, ...how } = HOW[algorithm];
  return { algorithm, sign: (data) => new Uint8Array(sign(hash, data, { key, ...how })) };
}

function readKey(given: unknown): KeyObject | undefined {
  if (given instanceof KeyObject) return given;
  try {
    if (typeof given === 'string') return createPrivateKey(given);
    if (typeof given !== 'object' || given === null) return undefined;
    return createPrivateKey({ key: given as JsonWebKey, format: 'jwk' });
  } catch {
    // The error of OpenSSL does not say what to do, and may quote the key.
    return undefined;
  }
}

function chooseAlgorithm(
  possible: readonly PublicKeyAlgorithm[],
  asked: Algorithm | undefined,
): PublicKeyAlgorithm {
  const chosen = asked === undefined ? possible[0] : possible.find((it) => it === asked);
  if (chosen !== undefined) return chosen;
  throw noKey(
    possible.length === 0
      ? 'expected one of Ed25519, P-256, P-384 or RSA'
      : `it is for ${possible.join(' or ')}, not for ${quote(asked)}`,
  );
}
