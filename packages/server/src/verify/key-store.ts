import {
  ALGORITHMS,
  isAccessKeyId,
  isAudience,
  type PublicKeyAlgorithm,
} from '@countersign/shared';
import * as z from 'zod';
import { secretOption } from '../lib/options.ts';
import { type PublicKey, type PublicKeyInput, readPublicKey } from './public-key.ts';

/** What is known of an access key beside its secret. */
export interface AccessKeyPolicy {
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
export interface AccessKey extends AccessKeyPolicy {
  /** At least 16 bytes. Never sent, never shown. */
  readonly secretAccessKey: string;
}

/**
 * An access key whose secret stays elsewhere: with signing keys that are good for one day and one audience each, a verifier
 * at the edge can check signatures and make none for tomorrow. `deriveAccessKey()` makes one.
 */
export interface DerivedAccessKey extends AccessKeyPolicy {
  readonly secretAccessKey?: undefined;
  /** 32 bytes each, by the scope that they are good for, such as `20261121/video-api/countersign1_request`. */
  readonly signingKeys: Readonly<Record<string, Uint8Array>>;
}

/**
 * An access key whose private half only its owner has. A server that holds nothing else has nothing worth stealing, and can
 * sign nothing in the name of its callers.
 */
export interface PublicAccessKey extends AccessKeyPolicy {
  readonly secretAccessKey?: undefined;
  readonly publicKey: PublicKey;
}

/** An access key as it is handed to a store: with its secret, or with its public key in any form. */
export type GivenAccessKey =
  | AccessKey
  | (AccessKeyPolicy & {
      readonly secretAccessKey?: undefined;
      readonly publicKey: PublicKeyInput;
    });

/** An access key, whatever its signatures are verified with. */
export type FoundAccessKey = AccessKeyPolicy & {
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
  noteUse?(accessKeyId: string, now: number): void;
}

/** The last second that has four digits of a year. Milliseconds are beyond it. */
export const LATEST_TIME = 253_402_300_799;

export const time = z.number().min(0).max(LATEST_TIME);

/** What is checked of an access key where it enters a store, but for its secret. */
export const accessKeyPolicySchema = z.strictObject({
  accessKeyId: z.string().refine(isAccessKeyId, '1 to 128 of A-Z a-z 0-9 . _ -'),
  subject: z.string().min(1).max(1_024),
  // In a session token they stand with spaces between them (RFC 8693 section 4.2).
  scopes: z.array(z.string().regex(/^\S+$/, 'a name without spaces')),
  audiences: z
    .array(z.string().refine(isAudience, 'a service name: 1 to 128 of A-Z a-z 0-9 . _ : -'))
    .min(1)
    .optional(),
  label: z.string().max(1_024).optional(),
  status: z.enum(['active', 'disabled', 'revoked']),
  created: time.optional(),
  notBefore: time.optional(),
  expiresAt: time.optional(),
});

/** What is checked of an access key with a secret where it enters a store. */
export const accessKeySchema = z.strictObject({
  accessKeyId: accessKeyPolicySchema.shape.accessKeyId,
  secretAccessKey: secretOption,
  publicKey: z.undefined().optional(),
  ...accessKeyPolicySchema.omit({ accessKeyId: true }).shape,
});

/** A public key in any form; in one form afterwards. */
const publicKeyOption = z.unknown().transform((given, context): PublicKey => {
  const key = readPublicKey(given);
  if (typeof key !== 'string') return key;
  context.addIssue({ code: 'custom', message: key });
  return z.NEVER;
});

/** The same of one with a public key. */
export const publicAccessKeySchema = z.strictObject({
  accessKeyId: accessKeyPolicySchema.shape.accessKeyId,
  secretAccessKey: z.undefined().optional(),
  publicKey: publicKeyOption,
  ...accessKeyPolicySchema.omit({ accessKeyId: true }).shape,
});

/** A public key as a store keeps it. */
export const keptPublicKeySchema = z.strictObject({
  algorithm: z.enum(ALGORITHMS.filter((it): it is PublicKeyAlgorithm => it !== 'hmac-sha256')),
  key: z.string(),
});
