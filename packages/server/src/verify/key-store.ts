import type { JsonWebKey, KeyObject } from 'node:crypto';
import type { PublicKeyAlgorithm } from '@countersign/shared';

/** A public key, as a key store holds it. It is no secret. */
export interface PublicKey {
  /** The algorithm of its signatures. A request that names another is refused. */
  readonly algorithm: PublicKeyAlgorithm;
  /** In PEM, as our stores give it. A JWK or a `KeyObject` is accepted, too. */
  readonly key: string | JsonWebKey | KeyObject;
}

/** A public key, as it is given to a store. */
export interface PublicKeyInput {
  /** If not given, the algorithm that the key is for; `rsa-pss-sha512` for an RSA key. */
  readonly algorithm?: PublicKeyAlgorithm | undefined;
  /** PEM that begins with `BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`, a JWK, or a `KeyObject`. */
  readonly key: string | JsonWebKey | KeyObject;
}

/** All that a store knows about an access key besides its secret. */
export interface AccessKeyMetadata {
  /** 1 to 128 of `A-Z a-z 0-9 . _ -`. Public: it goes over the wire with every request. */
  readonly accessKeyId: string;
  /**
   * Whose key this is: a user or a service. A subject may have several keys. Empty if the key was
   * revoked and its record could not be opened.
   */
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
  /** Unix seconds: the key is refused before this time. */
  readonly notBefore?: number | undefined;
  /** Unix seconds: the key is refused from this time on. */
  readonly expiresAt?: number | undefined;
  /**
   * Unix seconds: requests signed earlier are refused. A store sets it after "log out everywhere".
   */
  readonly signedSince?: number | undefined;
}

/** An access key as a key store holds it. */
export interface AccessKey extends AccessKeyMetadata {
  /** At least 16 bytes. Never sent, never shown. */
  readonly secretAccessKey: string;
}

/**
 * An access key whose secret stays elsewhere. Each of its signing keys is good for one day and one
 * audience. So a verifier at the edge can check signatures today, and an attacker who steals its
 * keys can make none tomorrow. `deriveAccessKey()` makes one.
 */
export interface DerivedAccessKey extends AccessKeyMetadata {
  readonly secretAccessKey?: undefined;
  /**
   * 32 bytes each, by the scope that they are good for, such as
   * `20261121/video-api/countersign1_request`.
   */
  readonly signingKeys: Readonly<Record<string, Uint8Array>>;
}

/**
 * An access key whose private key only its owner has. A server with public keys only has no key
 * worth stealing, and cannot sign in the name of its callers.
 */
export interface PublicAccessKey extends AccessKeyMetadata {
  readonly secretAccessKey?: undefined;
  readonly publicKey: PublicKey;
}

/** An access key as it is given to a store: with its secret, or with its public key in any form. */
export type GivenAccessKey =
  | AccessKey
  | (AccessKeyMetadata & {
      readonly secretAccessKey?: undefined;
      readonly publicKey: PublicKeyInput;
    });

/** An access key of any kind. */
export type FoundAccessKey = AccessKeyMetadata & {
  readonly secretAccessKey?: string | undefined;
  readonly signingKeys?: DerivedAccessKey['signingKeys'] | undefined;
  readonly publicKey?: PublicKey | undefined;
};

/** The store in which a verifier looks up access keys. */
export interface KeyStore {
  /**
   * Finds an access key, whatever its status: the verifier judges the status. The store must have
   * its own timeout, because a request waits for the answer.
   *
   * @param accessKeyId the id in the request. Only its alphabet and length were checked
   * @param scope what a signing key must be good for, such as
   * `20261121/video-api/countersign1_request`, for stores that give no secrets. Empty if the scheme
   * derives no keys
   * @returns `undefined` if there is no such key. A rejection means that the store failed; the
   * request is answered 503
   */
  find(
    accessKeyId: string,
    scope: string,
  ): Promise<AccessKey | DerivedAccessKey | PublicAccessKey | undefined>;
  /**
   * Called for every accepted request, for a store that records when a key was last used. It must
   * return at once.
   *
   * @param now Unix seconds
   */
  recordUse?(accessKeyId: string, now: number): void;
}
