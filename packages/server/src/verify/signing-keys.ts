import { randomBytes } from 'node:crypto';
import {
  encodeUtf8,
  findSecretFlaw,
  importMacKey,
  type Scheme,
  type SignatureParams,
  type VerifyKey,
  verifyHmacSha256,
} from '@countersign/shared';
import { BoundedMap } from '../lib/bounded-map.ts';
import type { PublicKey } from './key-store.ts';
import { importPublicKey } from './public-key.ts';

const MOST_KEYS = 10_000;

/**
 * What a key's record holds to verify with: the secret itself; bytes, the signing key that was derived of it elsewhere; or a public
 * key.
 */
export type KeyMaterial = string | Uint8Array | PublicKey;

interface KnownKey {
  readonly scheme: Scheme;
  readonly scope: string;
  readonly material: unknown;
  readonly key: VerifyKey;
}

/** Equal to none: objects are compared by identity. */
const NO_MATERIAL = new Uint8Array();

/** Scopes for which keys are kept of each access key and scheme: about midnight there are two days. */
const MOST_SCOPES = 2;

/**
 * Keys that are ready to verify with, kept by access key, scheme and scope: deriving one costs three HMACs, reading a public one more.
 * Requests of the old day must not push out the key of the new one, and slow it down for others to see.
 */
export class SigningKeys {
  readonly #known = new BoundedMap<string, readonly KnownKey[]>(MOST_KEYS);
  // Ready made: were it derived, a request could choose for what, and strangers could make it slow.
  readonly #decoy = createMacVerifier(randomBytes(32));
  /** Looked through for keys that are not known, as a list of theirs would be: a shorter time would tell. */
  #decoys: readonly KnownKey[] = [];

  /**
   * The key of an access key for what `params` are about; without material one that nobody has, after the same look-up.
   *
   * @returns what is wrong with the material, where no key should be made of it
   */
  get(
    scheme: Scheme,
    params: SignatureParams,
    scope: string,
    material: KeyMaterial | undefined,
  ): VerifyKey | string {
    const { accessKeyId } = params;
    const own = this.#known.get(accessKeyId);
    let known: KnownKey | undefined;
    for (const it of own ?? this.#decoys)
      if (it.scope === scope && it.scheme === scheme) known = it;
    if (material === undefined) return this.#decoy;
    // A rotated secret must not leave the old key in use, nor must a key that is for another algorithm now.
    const isPublic = typeof material === 'object' && 'key' in material;
    const kept = isPublic ? material.key : material;
    const algorithm = isPublic ? material.algorithm : 'hmac-sha256';
    if (known !== undefined && known.material === kept && known.key.algorithm === algorithm)
      return known.key;
    const key = createKey(scheme, params, material);
    if (typeof key === 'string') return key;
    const latest = { scheme, scope, material: kept, key };
    const others = own?.filter((it) => it !== known) ?? [];
    const ofScheme = others.filter((it) => it.scheme === scheme).slice(0, MOST_SCOPES - 1);
    const ofOthers = others.filter((it) => it.scheme !== scheme);
    this.#known.set(accessKeyId, [latest, ...ofScheme, ...ofOthers]);
    this.#decoys = [{ ...latest, material: NO_MATERIAL, key: this.#decoy }];
    return key;
  }
}

function createKey(
  scheme: Scheme,
  params: SignatureParams,
  material: KeyMaterial,
): VerifyKey | string {
  if (typeof material === 'string') {
    const flaw = findSecretFlaw(material);
    if (flaw !== undefined) return `its secret is unusable: ${flaw}`;
    const secret = encodeUtf8(material);
    return createMacVerifier(scheme.derive?.key(secret, params) ?? secret);
  }
  if (!(material instanceof Uint8Array)) return importPublicKey(material);
  if (material.length !== 32) return 'its secret is unusable: a signing key has 32 bytes';
  return createMacVerifier(material);
}

function createMacVerifier(bytes: Uint8Array): VerifyKey {
  const key = importMacKey(bytes);
  return {
    algorithm: 'hmac-sha256',
    verify: (data, signature) => verifyHmacSha256(key, data, signature),
  };
}
