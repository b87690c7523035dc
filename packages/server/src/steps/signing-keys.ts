import {
  encodeUtf8,
  findSecretFlaw,
  importMacKey,
  type MacKey,
  type Scheme,
  type SignatureParams,
} from '@countersign/shared';
import type { AccessKey } from '../keys/key-store.ts';

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

  /**
   * The signing key of an access key, for what `params` are about.
   *
   * @returns what is wrong with the secret, where no key should be made of it
   */
  get(
    { accessKeyId, secretAccessKey: secret }: AccessKey,
    scheme: Scheme,
    params: SignatureParams,
  ): MacKey | string {
    const name = `${scheme.name} ${accessKeyId} ${scheme.keyScope(params)}`;
    const known = this.#derived.get(name);
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
