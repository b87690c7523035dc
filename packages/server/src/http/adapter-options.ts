import { kindOf } from '@countersign/shared';
import * as z from 'zod';
import { functionOption, parseOptions } from '../lib/options.ts';
import { createVerifier, type Verifier } from '../verify/verifier.ts';
import type { VerifierOptions } from '../verify/verifier-options.ts';

/** What an adapter does around a verifier. */
export interface AdapterOptions {
  /** The most bytes of a body that are held: 1,048,576 if not given. Longer bodies are refused. */
  readonly limit?: number | undefined;
  /**
   * `buffer` (if not given): the whole body is held and hashed before the request goes on.
   *
   * `stream`: the request goes on when its headers are verified. Its body may have any length and
   * is hashed as it passes, so the application reads bytes that are not verified yet. Only the end
   * of the stream shows that they were. If the hash is wrong, the stream fails and never ends. Do
   * not act on the body before its end.
   */
  readonly body?: 'buffer' | 'stream' | undefined;
}

export const adapterSchema = z.strictObject({
  limit: z.int().min(0).max(1_073_741_824).default(1_048_576),
  body: z.enum(['buffer', 'stream']).default('buffer'),
});

/** The option of adapters that cannot find the client address by themselves. */
export const clientAddressSchema = <Args extends unknown[]>() =>
  functionOption<(...args: Args) => string | undefined>(
    "a function that tells the caller's network address",
  ).optional();

/** Adapter options with their defaults. */
export type AdapterSettings = z.output<typeof adapterSchema>;

/**
 * Takes a verifier and the options of an adapter, or builds the verifier of options that hold both.
 *
 * @param schema the adapter's own options
 * @throws TypeError or RangeError naming the option that cannot be used
 */
export function parseVerifierOrOptions<S extends z.ZodObject>(
  schema: S,
  given: Verifier | (VerifierOptions & z.input<S>),
  options: z.input<S>,
): { readonly verifier: Verifier; readonly settings: z.output<S> } {
  if (typeof given !== 'object' || given === null) {
    throw new TypeError(
      `Cannot build adapter: expected a verifier or its options, got ${kindOf(given)}`,
    );
  }
  if (isVerifier(given))
    return { verifier: given, settings: parseOptions('adapter', schema, options) };
  const isOwn = ([name]: [string, unknown]): boolean => Object.hasOwn(schema.shape, name);
  const own = Object.fromEntries(Object.entries(given).filter(isOwn));
  const rest = Object.fromEntries(Object.entries(given).filter((entry) => !isOwn(entry)));
  return {
    verifier: createVerifier(rest as unknown as VerifierOptions),
    settings: parseOptions('adapter', schema, { ...own, ...options }),
  };
}

/** @throws TypeError if it is not a function */
export function checkHandler(what: 'handler' | 'listener', given: unknown): void {
  if (typeof given !== 'function')
    throw new TypeError(
      `Cannot build adapter: expected a ${what}, a function, got ${kindOf(given)}`,
    );
}

export function isVerifier(given: unknown): given is Verifier {
  return typeof (given as Partial<Verifier> | null | undefined)?.verify === 'function';
}
