import { findSecretFlaw, isAccessKeyId } from '@countersign/shared';
import * as z from 'zod';

/** An access key as a key store holds it. */
export interface AccessKey {
  /** 1 to 128 of `A-Z a-z 0-9 . _ -`. Public: it goes over the wire with every request. */
  readonly accessKeyId: string;
  /** At least 16 bytes. Never sent, never shown. */
  readonly secretAccessKey: string;
  /** Whose key this is: a user, a service. */
  readonly subject: string;
  /** What the key may be used for; see `requireScope`. */
  readonly scopes: readonly string[];
  readonly status: 'active' | 'disabled';
  /** Unix seconds: refused before. */
  readonly notBefore?: number | undefined;
  /** Unix seconds: refused from then on. */
  readonly expiresAt?: number | undefined;
}

/** Where a verifier looks access keys up. */
export interface KeyStore {
  /**
   * Finds an access key, whatever its status: the verifier judges that. It must settle within a time of its own: a request
   * waits for it.
   *
   * @param accessKeyId as the request names it, checked for its alphabet and length only
   * @returns `undefined` where there is none; a rejection means that the store failed, and the request is answered 503
   */
  find(accessKeyId: string): Promise<AccessKey | undefined>;
}

/** The last second that has four digits of a year. Milliseconds are beyond it. */
export const LATEST_TIME = 253_402_300_799;

/** What is checked of an access key where it enters a store. */
export const accessKeySchema = z.strictObject({
  accessKeyId: z.string().refine(isAccessKeyId, '1 to 128 of A-Z a-z 0-9 . _ -'),
  secretAccessKey: z.unknown().superRefine((secret, context) => {
    const flaw = findSecretFlaw(secret);
    if (flaw !== undefined)
      context.addIssue({ code: 'custom', message: `a generated secret: ${flaw}` });
  }),
  subject: z.string().min(1),
  scopes: z.array(z.string().min(1)),
  status: z.enum(['active', 'disabled']),
  notBefore: z.number().min(0).max(LATEST_TIME).optional(),
  expiresAt: z.number().min(0).max(LATEST_TIME).optional(),
});
