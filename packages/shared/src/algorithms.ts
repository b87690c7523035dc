/** The algorithms of signatures, by their names in key records and in RFC 9421 section 6.2. */
export const ALGORITHMS = [
  'hmac-sha256',
  'ed25519',
  'ecdsa-p256-sha256',
  'ecdsa-p384-sha384',
  'rsa-pss-sha512',
  'rsa-v1_5-sha256',
] as const;

/** The algorithm of a signature. The record of a key decides it, never the request alone. */
export type Algorithm = (typeof ALGORITHMS)[number];

/** An algorithm with a private key that signs and a public key that verifies. */
export type PublicKeyAlgorithm = Exclude<Algorithm, 'hmac-sha256'>;

/** A key that verifies signatures. */
export interface VerifyKey {
  readonly algorithm: Algorithm;
  /** Whether the signature is right for these bytes. Constant time if the key is a secret. */
  verify(data: Uint8Array, signature: Uint8Array): boolean;
}

/** A key that makes signatures. A key in a vault or in WebCrypto answers with a promise. */
export interface SignKey {
  readonly algorithm: Algorithm;
  sign(data: Uint8Array): Uint8Array | Promise<Uint8Array>;
}

/** The fewest bits of an RSA key (NIST SP 800-131A). */
export const FEWEST_RSA_BITS = 2_048;
/** The most bits of an RSA key. A longer key makes requests longer, and slower to verify. */
export const MOST_RSA_BITS = 8_192;

/**
 * Bytes of a signature. ECDSA writes r and s, each as long as the curve's order (RFC 9421 section
 * 3.3.4).
 */
const LENGTHS: Readonly<Partial<Record<Algorithm, number>>> = {
  'hmac-sha256': 32,
  ed25519: 64,
  'ecdsa-p256-sha256': 64,
  'ecdsa-p384-sha384': 96,
};

/** Whether a value names an algorithm. */
export function isAlgorithm(value: unknown): value is Algorithm {
  return ALGORITHMS.includes(value as Algorithm);
}

/**
 * Whether a signature of an algorithm can have so many bytes. An RSA signature is as long as its
 * key.
 */
export function isSignatureLength(algorithm: Algorithm, length: number): boolean {
  const expected = LENGTHS[algorithm];
  if (expected !== undefined) return length === expected;
  return length >= FEWEST_RSA_BITS / 8 && length <= MOST_RSA_BITS / 8;
}

/**
 * The algorithms that a key can be used with.
 *
 * @param jwk the key, or its public half (RFC 7517, RFC 8037)
 * @returns the default algorithm of the key first; empty if we know no algorithm for the key
 */
export function algorithmsOf({
  kty,
  crv,
}: {
  readonly kty?: unknown;
  readonly crv?: unknown;
}): readonly PublicKeyAlgorithm[] {
  if (kty === 'RSA') return ['rsa-pss-sha512', 'rsa-v1_5-sha256'];
  if (kty === 'OKP' && crv === 'Ed25519') return ['ed25519'];
  if (kty === 'EC' && crv === 'P-256') return ['ecdsa-p256-sha256'];
  if (kty === 'EC' && crv === 'P-384') return ['ecdsa-p384-sha384'];
  return [];
}
