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
 * What the record of a key holds for verification: the secret as a text; the signing key, which was
 * derived from the secret elsewhere, as bytes; or a public key.
 */
export type KeyMaterial = string | Uint8Array | PublicKey;

interface KnownKey {
  readonly scheme: Scheme;
  readonly scope: string;
  readonly material: unknown;
  readonly key: VerifyKey;
}

/** Objects are compared by identity, so this equals no other material. */
const NO_MATERIAL = new Uint8Array();

/** How many scopes are kept for each access key and scheme. Around midnight two days are in use. */
const MOST_SCOPES = 2;

/**
 * Keys that are prepared for verification, by access key, scheme and scope. To derive one costs
 * three HMACs, and to read a public key costs more. Requests of the old day must not push out the
 * key of the new day: the slower answers would show that the key exists.
 */
export class SigningKeys {
  readonly #known = new BoundedMap<string, readonly KnownKey[]>(MOST_KEYS);
  // Made once. If it were derived for each scope, an attacker could choose scopes and make it slow.
  readonly #decoy = createMacVerifier(randomBytes(32));
  /**
   * Searched for unknown keys, as the list of a known key is: a shorter time would show that the
   * key is unknown.
   */
  #decoys: readonly KnownKey[] = [];

  /**
   * The key of an access key for the request of `params`. Without material, the decoy key, after
   * the same search.
   *
   * @returns the key; or, as a text, what is wrong with the material
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
    // A kept key must not be used if the secret was rotated, or the algorithm has changed.
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
