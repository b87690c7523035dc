import {
  ALGORITHMS,
  isAccessKeyId,
  isAudience,
  LATEST_TIME,
  type PublicKeyAlgorithm,
} from '@countersign/shared';
import * as z from 'zod';
import { secretOption } from '../lib/options.ts';
import type { PublicKey } from '../verify/key-store.ts';
import { readPublicKey } from '../verify/public-key.ts';

export const time = z.number().min(0).max(LATEST_TIME);

/** Checks the metadata of an access key that is to be stored. */
export const accessKeyMetadataSchema = z.strictObject({
  accessKeyId: z.string().refine(isAccessKeyId, '1 to 128 of A-Z a-z 0-9 . _ -'),
  subject: z.string().min(1).max(1_024),
  // A session token separates scopes by spaces (RFC 8693 section 4.2).
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

/** Checks an access key with a secret. */
export const accessKeySchema = z.strictObject({
  accessKeyId: accessKeyMetadataSchema.shape.accessKeyId,
  secretAccessKey: secretOption,
  publicKey: z.undefined().optional(),
  ...accessKeyMetadataSchema.omit({ accessKeyId: true }).shape,
});

/** Takes a public key in any form, and gives it in one form. */
const publicKeyOption = z.unknown().transform((given, context): PublicKey => {
  const key = readPublicKey(given);
  if (typeof key !== 'string') return key;
  context.addIssue({ code: 'custom', message: key });
  return z.NEVER;
});

/** Checks an access key with a public key. */
export const publicAccessKeySchema = z.strictObject({
  accessKeyId: accessKeyMetadataSchema.shape.accessKeyId,
  secretAccessKey: z.undefined().optional(),
  publicKey: publicKeyOption,
  ...accessKeyMetadataSchema.omit({ accessKeyId: true }).shape,
});

/** A public key as a store keeps it. */
export const keptPublicKeySchema = z.strictObject({
  algorithm: z.enum(ALGORITHMS.filter((it): it is PublicKeyAlgorithm => it !== 'hmac-sha256')),
  key: z.string(),
});
