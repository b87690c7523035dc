import { importPrivateKey, isAccessKeyId, isAudience } from '@countersign/shared';
import * as z from 'zod';
import { parseOptions, secretOption } from '../../lib/options.ts';

/** Where callbacks go, and with what they are signed. */
export interface CallbackEndpoint {
  readonly id: string;
  /**
   * Whose endpoint it is, as your customer's id: 1 to 256 characters; the endpoint's id if not
   * given. Places for attempts, waiting callbacks and dead letters are bounded for each owner. So
   * give it if one customer can register several endpoints.
   */
  readonly owner?: string | undefined;
  readonly url: string;
  /** As the scheme writes them (`whsec_…`): one, or two while they are rotated. Each signs. */
  readonly secrets?: readonly string[] | undefined;
  /**
   * Instead of secrets, for a receiver that is a Countersign server: each attempt is a request that
   * is signed as every client's.
   */
  readonly credentials?:
    | {
        readonly accessKeyId: string;
        readonly secretAccessKey?: string | undefined;
        /** In place of the secret, in PEM (PKCS #8): the receiver then holds its public half. */
        readonly privateKey?: string | undefined;
      }
    | undefined;
  /** Beside `credentials`: the service that the receiver is. */
  readonly audience?: string | undefined;
  /**
   * `as-sent`: each callback waits until the one before it is delivered or given up. `any` if not
   * given.
   */
  readonly order?: 'as-sent' | 'any' | undefined;
  /** Nothing is sent to it; what waits for it is given up. */
  readonly disabled?: boolean | undefined;
}

/**
 * Finds an endpoint as it is now: a delivery that was queued before a restart finds the present URL
 * and secrets.
 */
export type FindEndpoint = (
  endpointId: string,
) => CallbackEndpoint | undefined | Promise<CallbackEndpoint | undefined>;

/** Of one that cannot be used it is said why, and it is not shown. */
const privateKeyOption = z.string().superRefine((key, context) => {
  try {
    void importPrivateKey(key);
  } catch {
    context.addIssue({
      code: 'custom',
      message: 'a private key in PEM (PKCS #8) of Ed25519, P-256, P-384 or RSA',
    });
  }
});

const endpointSchema = z
  .object({
    id: z.string().min(1).max(256),
    owner: z.string().min(1).max(256).optional(),
    url: z.string(),
    secrets: z.array(z.string().max(1_024)).min(1).max(2).optional(),
    credentials: z
      .object({
        accessKeyId: z.string().refine(isAccessKeyId, 'an access key id'),
        secretAccessKey: secretOption.optional(),
        privateKey: privateKeyOption.optional(),
      })
      .refine(
        ({ secretAccessKey, privateKey }) =>
          (secretAccessKey === undefined) !== (privateKey === undefined),
        'an access key with a secretAccessKey or a privateKey',
      )
      .optional(),
    audience: z.string().refine(isAudience, 'an audience').optional(),
    order: z.enum(['as-sent', 'any']).default('any'),
    disabled: z.boolean().default(false),
  })
  .refine(
    ({ secrets, credentials, audience }) =>
      (secrets === undefined) === (credentials !== undefined) &&
      (credentials === undefined) === (audience === undefined),
    'secrets, or credentials and an audience',
  );

export type CheckedEndpoint = z.output<typeof endpointSchema>;

/** @throws TypeError naming what is wrong with it, never with a secret */
export function checkEndpoint(endpoint: CallbackEndpoint): CheckedEndpoint {
  return parseOptions('callback endpoint', endpointSchema, endpoint);
}
