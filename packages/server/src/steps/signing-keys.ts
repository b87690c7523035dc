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
  readonly scheme: Scheme;
  readonly scope: string;
  readonly secret: string | Uint8Array;
  readonly key: MacKey;
}

/** Equal to none: bytes are compared by identity. */
const NO_SECRET = new Uint8Array();

/** Scopes for which signing keys are kept of each access key: about midnight there are two days. */
const MOST_SCOPES = 2;

/**
 * Derived signing keys, kept by access key and scope: deriving one costs three HMACs. Requests of the old day must not push out the
 * key of the new one, and slow it down for others to see.
 */
export class SigningKeys {
  readonly #derived = new Map<string, readonly DerivedKey[]>();
  // Ready made: were it derived, a request could choose for what, and strangers could make it slow.
  readonly #decoy = importMacKey(randomBytes(32));
  /** Looked through for keys that are not known, as a list of theirs would be: a shorter time would tell. */
  #nobodys: readonly DerivedKey[] = [];

  /**
   * The signing key of an access key for what `params` are about; without a secret one that nobody has, after the same look-up.
   *
   * @param secret the secret itself; or bytes: the signing key that somebody else has derived of it
   * @returns what is wrong with the secret, where no key should be made of it
   */
  get(
    scheme: Scheme,
    params: SignatureParams,
    scope: string,
    secret: string | Uint8Array | undefined,
  ): MacKey | string {
    const { accessKeyId } = params;
    const own = this.#derived.get(accessKeyId);
    let known: DerivedKey | undefined;
    for (const it of own ?? this.#nobodys)
      if (it.scope === scope && it.scheme === scheme) known = it;
    if (secret === undefined) return this.#decoy;
    // A rotated secret must not leave the old key in use.
    if (known !== undefined && known.secret === secret) return known.key;
    const bytes = typeof secret === 'string' ? derive(scheme, params, secret) : checkLength(secret);
    if (typeof bytes === 'string') return bytes;
    const key = importMacKey(bytes);
    if (this.#derived.size >= MOST_KEYS)
      this.#derived.delete(this.#derived.keys().next().value as string);
    const others = own?.filter((it) => it !== known) ?? [];
    const latest = { scheme, scope, secret, key };
    this.#derived.set(accessKeyId, [latest, ...others].slice(0, MOST_SCOPES));
    this.#nobodys = [{ ...latest, secret: NO_SECRET, key: this.#decoy }];
    return key;
  }
}

function derive(scheme: Scheme, params: SignatureParams, secret: string): Uint8Array | string {
  return findSecretFlaw(secret) ?? scheme.signingKey(encodeUtf8(secret), params);
}

function checkLength(key: unknown): Uint8Array | string {
  return key instanceof Uint8Array && key.length === 32 ? key : 'a signing key has 32 bytes';
}
