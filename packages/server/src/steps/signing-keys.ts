import { randomBytes } from 'node:crypto';
import {
  encodeUtf8,
  findSecretFlaw,
  importMacKey,
  type MacKey,
  type Scheme,
  type SignatureParams,
} from '@countersign/shared';

const MOST_KEYS = 10_000;

interface DerivedKey {
  readonly secret: string;
  readonly key: MacKey;
}

/**
 * Derived signing keys, kept by access key and scope: deriving one costs three HMACs. About midnight an access key has two, so
 * that requests of the old day do not push out the key of the new one, and slow it down for others to see.
 */
export class SigningKeys {
  readonly #derived = new Map<string, DerivedKey>();
  // Ready made: were it derived, a request could choose for what, and strangers could make it slow.
  readonly #decoy = importMacKey(randomBytes(32));

  /**
   * The signing key of an access key for what `params` are about; without a secret one that nobody has, after the same look-up.
   *
   * @returns what is wrong with the secret, where no key should be made of it
   */
  get(scheme: Scheme, params: SignatureParams, secret: string | undefined): MacKey | string {
    const name = `${scheme.name} ${params.accessKeyId} ${scheme.keyScope(params)}`;
    const known = this.#derived.get(name);
    if (secret === undefined) return this.#decoy;
    // A rotated secret must not leave the old key in use.
    if (known !== undefined && known.secret === secret) return known.key;
    const flaw = findSecretFlaw(secret);
    if (flaw !== undefined) return flaw;
    const key = importMacKey(scheme.signingKey(encodeUtf8(secret), params));
    if (this.#derived.size >= MOST_KEYS)
      this.#derived.delete(this.#derived.keys().next().value as string);
    this.#derived.set(name, { secret, key });
    return key;
  }
}
