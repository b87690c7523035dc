import { kindOf, quote, SignatureError } from '@countersign/shared';
import { adapterSchema } from '../../http/adapter-options.ts';
import { type ProblemAnswer, problemOf } from '../../http/problem-details.ts';
import { parseOptions } from '../../lib/options.ts';
import { type CallbackVerifier, createCallbackVerifier } from './callback-verifier.ts';
import type { CallbackVerifierOptions } from './callback-verifier-options.ts';

/** The options of an adapter around a verifier of callbacks. */
export interface CallbackAdapterOptions {
  /**
   * The most bytes of a body: 1,048,576 if not given. Longer bodies are refused. The signature
   * covers the body, so the server holds this much of an unverified one too.
   */
  readonly limit?: number | undefined;
}

const schema = adapterSchema.pick({ limit: true });

/**
 * Takes a verifier and the options of an adapter, or builds the verifier from options that hold
 * both.
 *
 * @throws TypeError or RangeError that names the option that cannot be used
 */
export function parseCallbackAdapter(
  given: CallbackVerifier | (CallbackVerifierOptions & CallbackAdapterOptions),
  options: CallbackAdapterOptions,
): { readonly verifier: CallbackVerifier; readonly limit: number } {
  if (typeof given !== 'object' || given === null)
    throw new TypeError(
      `Cannot build adapter: expected a callback verifier or its options, got ${kindOf(given)}`,
    );
  if (typeof (given as Partial<CallbackVerifier>).verify === 'function')
    return { verifier: given as CallbackVerifier, ...parseOptions('adapter', schema, options) };
  const { limit, ...rest } = given as CallbackVerifierOptions & CallbackAdapterOptions;
  return {
    verifier: createCallbackVerifier(rest),
    ...parseOptions('adapter', schema, { limit, ...options }),
  };
}

/**
 * Accepts only `POST`. No format signs the method. With another method, an attacker could use a
 * captured callback to delete something.
 *
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED`
 */
export function checkMethod(method: string | undefined): void {
  if (method === 'POST') return;
  throw new SignatureError(
    'ERR_COMPONENT_NOT_COVERED',
    `Callbacks are sent with POST, and no signature covers the method: ${quote(method)} is not accepted here`,
  );
}

/**
 * The network address of a caller, for logs. A request may have no socket, or a closed one. That
 * must not affect its callback.
 */
export function knownClientAddress(clientAddressOf: () => string | undefined): string | undefined {
  try {
    return clientAddressOf();
  } catch {
    return undefined;
  }
}

/** The answer to a callback that is refused. */
export function callbackProblem(
  error: SignatureError,
  { scheme, sender }: CallbackVerifier,
): ProblemAnswer {
  const { headers, ...rest } = problemOf(error, sender);
  // The challenge names the scheme of the sender, not ours. Senders do not know epochs.
  const { 'www-authenticate': challenge, 'countersign-epoch': _, ...others } = headers;
  if (challenge === undefined) return { ...rest, headers: others };
  const own = `${scheme} realm="${sender}", error="${error.reason}"`;
  return { ...rest, headers: { ...others, 'www-authenticate': own } };
}
