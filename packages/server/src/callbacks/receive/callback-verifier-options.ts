import { isAudience, type SignatureErrorCode } from '@countersign/shared';
import * as z from 'zod';
import { clockOption, functionOption, objectOption, parseOptions } from '../../lib/options.ts';
import type { NonceStore } from '../../verify/nonce-store.ts';
import type { CallbackScheme } from '../schemes/callback-scheme.ts';
import { standardWebhooks } from '../schemes/standard-webhooks.ts';

/** Secrets and public keys, as they are written down. */
export type CallbackSecrets = readonly string[];

/** Why a callback was refused, for logs. It holds no secret and no signature. */
export interface CallbackRefusal {
  readonly code: SignatureErrorCode;
  readonly message: string;
  readonly scheme: string;
  readonly sender: string;
  /** As the headers say; nothing of it is verified. */
  readonly id: string | undefined;
  readonly signedAt: number | undefined;
  /**
   * The network address that the callback came from, if it is known. One that is no plain text is
   * quoted.
   */
  readonly clientAddress: string | undefined;
}

/** What a verifier of callbacks is built from. Durations are seconds. */
export interface CallbackVerifierOptions {
  /**
   * What the sender signs with: one secret or public key; two while it changes from one to the
   * other. A function is asked for each callback, so that secrets change without a restart.
   */
  readonly secrets: CallbackSecrets | (() => CallbackSecrets | Promise<CallbackSecrets>);
  /** The form that is expected: `standardWebhooks()` if not given. */
  readonly scheme?: CallbackScheme | undefined;
  /**
   * Whose callbacks these are: the name of the scheme if not given. Give each sender a name of its
   * own if several share a nonce store, or one could use up the nonces of another. (`createOnce()`
   * tells them apart by their secrets.)
   */
  readonly sender?: string | undefined;
  /** For how long a callback lives once it is signed: 300 if not given. */
  readonly window?: number | undefined;
  /**
   * How far ahead of this server's clock a callback may be dated: as much as `window` if not given;
   * with `nonces` 5, since for so long a store that has just begun cannot vouch for anything.
   */
  readonly ahead?: number | undefined;
  /**
   * Where the signatures of callbacks are claimed, so that none is accepted twice: shared by all
   * servers that receive them.
   */
  readonly nonces?: NonceStore | undefined;
  /** The most header fields of a callback: 100 if not given, at most 1,000. */
  readonly maxHeaderFields?: number | undefined;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /** Called for every refusal, for logs. What it throws is a process warning. */
  readonly onRefused?: ((refusal: CallbackRefusal) => unknown) | undefined;
}

/** Each costs a signature per callback: more than a rotation needs is a mistake. */
export const MOST_SECRETS = 16;

const schema = z.strictObject({
  secrets: z.custom<CallbackVerifierOptions['secrets']>(
    (secrets) => isSecrets(secrets) || typeof secrets === 'function',
    `a list of 1 to ${MOST_SECRETS} secrets, or a function that gives one`,
  ),
  scheme: objectOption<CallbackScheme>(
    'parseKey',
    'a form of callbacks such as standardWebhooks()',
  ).default(() => standardWebhooks()),
  sender: z.string().refine(isAudience, 'a name: 1 to 128 of A-Z a-z 0-9 . _ : -').optional(),
  window: z.number().min(1).max(86_400).default(300),
  ahead: z.number().min(0).max(86_400).optional(),
  nonces: objectOption<NonceStore>('claim', 'a nonce store with claim()').optional(),
  maxHeaderFields: z.int().min(1).max(1_000).default(100),
  clock: clockOption,
  onRefused: functionOption<(refusal: CallbackRefusal) => unknown>().optional(),
});

/** @throws TypeError or RangeError naming the option that cannot be used */
export function parseCallbackOptions(options: CallbackVerifierOptions) {
  const settings = parseOptions('callback verifier', schema, options);
  if (settings.nonces !== undefined && settings.scheme.time === 'unsigned') {
    throw new TypeError(
      `Cannot build callback verifier: option "nonces" does not go with ${settings.scheme.name}, which signs no time: an honest redelivery has the same signature as a copy; use once()`,
    );
  }
  const { sender = settings.scheme.name } = settings;
  const ahead = settings.ahead ?? (settings.nonces === undefined ? settings.window : 5);
  return { ...settings, sender, ahead };
}

export type CallbackSettings = ReturnType<typeof parseCallbackOptions>;

export function isSecrets(value: unknown): value is CallbackSecrets {
  return (
    Array.isArray(value) &&
    value.length >= 1 &&
    value.length <= MOST_SECRETS &&
    value.every((secret) => typeof secret === 'string')
  );
}
