import { encodeUtf8, findSecretFlaw, importMacKey, type MacKey, type Scheme, type SignatureParams } from '@countersign/shared';
import type { AccessKey } from '../keys/key-store.ts';

const MOST_KEYS = 10_000;

/** Derived signing keys, kept per access key and day: deriving one costs three HMACs. */
export class SigningKeys {
  readonly #derived = new Map<string, { readonly secret: string; readonly key: MacKey }>();

  /**
   * The signing key of an access key, for what `params` are about.
   *
   * @returns what is wrong with the secret, where no key should be made of it
   */
  get({ accessKeyId, secretAccessKey }: AccessKey, scheme: Scheme, params: SignatureParams): MacKey | string {
    const name = `${scheme.name} ${accessKeyId} ${scheme.keyScope(params)}`;
    const known = this.#derived.get(name);
    // A rotated secret must not leave the old key in use.
    if (known !== undefined && known.secret === secretAccessKey) return known.key;
    const flaw = findSecretFlaw(secretAccessKey);
    if (flaw !== undefined) return flaw;
    const key = importMacKey(scheme.signingKey(encodeUtf8(secretAccessKey), params));
    if (this.#derived.size >= MOST_KEYS) this.#derived.delete(this.#derived.keys().next().value as string);
    this.#derived.set(name, { secret: secretAccessKey, key });
    return key;
  }
}
