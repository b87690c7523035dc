import { kindOf, quote, SignatureError } from '@countersign/shared';
import { adapterSchema } from '../../http/adapter-options.ts';
import { type ProblemAnswer, problemOf } from '../../http/problem-details.ts';
import { parseOptions } from '../../lib/options.ts';
import { type CallbackVerifier, createCallbackVerifier } from './callback-verifier.ts';
import type { CallbackVerifierOptions } from './callback-verifier-options.ts';

/** What an adapter does around a verifier of callbacks. */
export interface CallbackAdapterOptions {
  /**
   * The most bytes of a body: 1,048,576 if not given. Longer ones are refused. The signature covers
   * the body, so that much of a stranger's is held, too.
   */
  readonly limit?: number | undefined;
}

const schema = adapterSchema.pick({ limit: true });

/**
 * Takes a verifier and the options of an adapter, or builds the verifier of options that hold both.
 *
 * @throws TypeError or RangeError naming the option that cannot be used
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
 * Callbacks come with `POST`. No format signs the method: let through with another one, a captured
 * callback could delete.
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
 * The network address of a caller, for logs. A request may have no socket, or one that is gone:
 * that changes nothing for its callback.
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
  // What is asked for is no signature of our own form; and senders know nothing of epochs.
  const { 'www-authenticate': challenge, 'countersign-epoch': _, ...others } = headers;
  if (challenge === undefined) return { ...rest, headers: others };
  const own = `${scheme} realm="${sender}", error="${error.reason}"`;
  return { ...rest, headers: { ...others, 'www-authenticate': own } };
}
