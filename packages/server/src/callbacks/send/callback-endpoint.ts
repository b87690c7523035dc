import { importPrivateKey, isAccessKeyId, isAudience } from '@countersign/shared';
import * as z from 'zod';
import { parseOptions, secretOption } from '../../lib/options.ts';

/** A receiver of callbacks: its URL, and the secrets that sign them. */
export interface CallbackEndpoint {
  readonly id: string;
  /**
   * Your id of the customer who owns the endpoint: 1 to 256 characters; the endpoint's id if not
   * given. Each owner has bounds of its own for attempts, waiting callbacks and dead letters. So
   * give the owner if one customer can register several endpoints.
   */
  readonly owner?: string | undefined;
  readonly url: string;
  /** As the scheme writes them (`whsec_…`): one, or two while they are rotated. Each signs. */
  readonly secrets?: readonly string[] | undefined;
  /**
   * Instead of secrets, if the receiver is a Countersign server: each attempt is then signed like
   * the request of any client.
   */
  readonly credentials?:
    | {
        readonly accessKeyId: string;
        readonly secretAccessKey?: string | undefined;
        /** Instead of the secret: PEM (PKCS #8). The receiver then holds the public key. */
        readonly privateKey?: string | undefined;
      }
    | undefined;
  /** Required with `credentials`: the audience of the receiver. */
  readonly audience?: string | undefined;
  /**
   * `as-sent`: each callback waits until the one before it is delivered or dead. `any` if not
   * given.
   */
  readonly order?: 'as-sent' | 'any' | undefined;
  /** If true, nothing is sent to it, and callbacks that wait for it become dead letters. */
  readonly disabled?: boolean | undefined;
}

/**
 * Finds the current state of an endpoint. A delivery that was queued before a restart so uses the
 * current URL and secrets.
 */
export type FindEndpoint = (
  endpointId: string,
) => CallbackEndpoint | undefined | Promise<CallbackEndpoint | undefined>;

/** The message says what is expected. It never shows the key. */
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

/** @throws TypeError that names what is wrong, and shows no secret */
export function checkEndpoint(endpoint: CallbackEndpoint): CheckedEndpoint {
  return parseOptions('callback endpoint', endpointSchema, endpoint);
}
