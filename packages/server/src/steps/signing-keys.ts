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
  readonly scheme: Scheme;
  readonly secret: string;
  readonly scope: string;
  readonly key: MacKey;
}

/** The signing key derived last for each access key: it is good for a day, and deriving it costs three HMACs. */
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
    const scope = scheme.keyScope(params);
    const known = this.#derived.get(accessKeyId);
    // A rotated secret must not leave the old key in use.
    if (
      known !== undefined &&
      known.secret === secret &&
      known.scope === scope &&
      known.scheme === scheme
    )
      return known.key;
    const flaw = findSecretFlaw(secret);
    if (flaw !== undefined) return flaw;
    const key = importMacKey(scheme.signingKey(encodeUtf8(secret), params));
    if (this.#derived.size >= MOST_KEYS)
      this.#derived.delete(this.#derived.keys().next().value as string);
    this.#derived.set(accessKeyId, { scheme, secret, scope, key });
    return key;
  }
}
