import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { PublicKeyAlgorithm } from '@countersign/shared';

/** A public key, as a key store holds it. It is no secret. */
export interface PublicKey {
  /** What its signatures are verified with. A request that says otherwise is refused. */
  readonly algorithm: PublicKeyAlgorithm;
  /** In PEM, as our stores give it; a JWK or a `KeyObject` is taken too. */
  readonly key: string | JsonWebKey | KeyObject;
}

/** A public key, as it is handed in. */
export interface PublicKeyInput {
  /** What the key says by itself if not given; `rsa-pss-sha512` for an RSA key. */
  readonly algorithm?: PublicKeyAlgorithm | undefined;
  /** PEM that begins with `BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`, a JWK, or a `KeyObject`. */
  readonly key: string | JsonWebKey | KeyObject;
}

/** What is known of an access key beside its secret. */
export interface AccessKeyMetadata {
  /** 1 to 128 of `A-Z a-z 0-9 . _ -`. Public: it goes over the wire with every request. */
  readonly accessKeyId: string;
  /** Whose key this is: a user, a service. One may have several. Empty where a key was revoked whose record nobody could open. */
  readonly subject: string;
  /** What the key may be used for; see `requireScope`. */
  readonly scopes: readonly string[];
  /** The services that the key may be used at: all if not given. */
  readonly audiences?: readonly string[] | undefined;
  /** What its owner calls it. */
  readonly label?: string | undefined;
  /** `disabled` may become `active` again, `revoked` never. */
  readonly status: 'active' | 'disabled' | 'revoked';
  /** Unix seconds: when it was made. */
  readonly created?: number | undefined;
  /** Unix seconds: refused before. */
  readonly notBefore?: number | undefined;
  /** Unix seconds: refused from then on. */
  readonly expiresAt?: number | undefined;
  /** Unix seconds: requests that were signed earlier are refused. A key store says so after "log out everywhere". */
  readonly signedSince?: number | undefined;
}

/** An access key as a key store holds it. */
export interface AccessKey extends AccessKeyMetadata {
  /** At least 16 bytes. Never sent, never shown. */
  readonly secretAccessKey: string;
}

/**
 * An access key whose secret stays elsewhere: with signing keys that are good for one day and one audience each, a verifier
 * at the edge can check signatures and make none for tomorrow. `deriveAccessKey()` makes one.
 */
export interface DerivedAccessKey extends AccessKeyMetadata {
  readonly secretAccessKey?: undefined;
  /** 32 bytes each, by the scope that they are good for, such as `20261121/video-api/countersign1_request`. */
  readonly signingKeys: Readonly<Record<string, Uint8Array>>;
}

/**
 * An access key whose private half only its owner has. A server that holds nothing else has nothing worth stealing, and can
 * sign nothing in the name of its callers.
 */
export interface PublicAccessKey extends AccessKeyMetadata {
  readonly secretAccessKey?: undefined;
  readonly publicKey: PublicKey;
}

/** An access key as it is handed to a store: with its secret, or with its public key in any form. */
export type GivenAccessKey =
  | AccessKey
  | (AccessKeyMetadata & {
      readonly secretAccessKey?: undefined;
      readonly publicKey: PublicKeyInput;
    });

/** An access key, whatever its signatures are verified with. */
export type FoundAccessKey = AccessKeyMetadata & {
  readonly secretAccessKey?: string | undefined;
  readonly signingKeys?: DerivedAccessKey['signingKeys'] | undefined;
  readonly publicKey?: PublicKey | undefined;
};

/** Where a verifier looks access keys up. */
export interface KeyStore {
  /**
   * Finds an access key, whatever its status: the verifier judges that. It must settle within a time of its own: a request
   * waits for it.
   *
   * @param accessKeyId as the request names it, checked for its alphabet and length only
   * @param scope what a signing key must be good for, such as `20261121/video-api/countersign1_request`: for stores that give no
   * secrets. Empty for a scheme that derives no keys
   * @returns `undefined` where there is none; a rejection means that the store failed, and the request is answered 503
   */
  find(
    accessKeyId: string,
    scope: string,
  ): Promise<AccessKey | DerivedAccessKey | PublicAccessKey | undefined>;
  /**
   * Told of every request that was accepted: for a store that remembers when a key was last used. Must return at once.
   *
   * @param now Unix seconds
   */
  recordUse?(accessKeyId: string, now: number): void;
}
