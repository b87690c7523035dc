import { isAudience, type SignatureErrorCode } from '@countersign/shared';
import * as z from 'zod';
import { clockOption, functionOption, objectOption, parseOptions } from '../../lib/options.ts';
import type { NonceStore } from '../../verify/nonce-store.ts';
import type { CallbackScheme } from '../schemes/callback-scheme.ts';
import { standardWebhooks } from '../schemes/standard-webhooks.ts';

/** Secrets and public keys, as text. */
export type CallbackSecrets = readonly string[];

/** Why a callback was refused, for logs. It holds no secret and no signature. */
export interface CallbackRefusal {
  readonly code: SignatureErrorCode;
  readonly message: string;
  readonly scheme: string;
  readonly sender: string;
  /** From the headers, not verified. */
  readonly id: string | undefined;
  readonly signedAt: number | undefined;
  /**
   * The network address that the callback came from, if it is known. If it is not plain text, it is
   * quoted.
   */
  readonly clientAddress: string | undefined;
}

/** The options of a verifier of callbacks. Durations are in seconds. */
export interface CallbackVerifierOptions {
  /**
   * What the sender signs with: one secret or public key, and two while they are rotated. A
   * function is called for each callback, so secrets can change without a restart.
   */
  readonly secrets: CallbackSecrets | (() => CallbackSecrets | Promise<CallbackSecrets>);
  /** The scheme that is expected: `standardWebhooks()` if not given. */
  readonly scheme?: CallbackScheme | undefined;
  /**
   * The name of the sender: the name of the scheme if not given. If several senders share a nonce
   * store, give each its own name. Otherwise one could use up the nonces of another.
   * (`createOnce()` tells senders apart by their secrets.)
   */
  readonly sender?: string | undefined;
  /** How long a callback is accepted after it was signed: 300 if not given. */
  readonly window?: number | undefined;
  /**
   * How far ahead of this server's clock a callback may be dated: as much as `window` if not given,
   * or 5 with `nonces`. A nonce store that has just started accepts nothing for this time, so it is
   * short.
   */
  readonly ahead?: number | undefined;
  /**
   * Claims the signatures of callbacks, so that none is accepted twice. All servers that receive
   * them must share it.
   */
  readonly nonces?: NonceStore | undefined;
  /** The most header fields of a callback: 100 if not given, at most 1,000. */
  readonly maxHeaderFields?: number | undefined;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /** Called for every refusal, for logs. An error that it throws becomes a process warning. */
  readonly onRefused?: ((refusal: CallbackRefusal) => unknown) | undefined;
}

/** Each secret costs a signature per callback. A rotation needs two: a long list is a mistake. */
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

/** @throws TypeError or RangeError that names the option that cannot be used */
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
