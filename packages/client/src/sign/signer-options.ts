import {
  countersign,
  describeValue,
  findClockFlaw,
  isAudience,
  kindOf,
  quote,
  type Scheme,
  strictClock,
} from '@countersign/shared';
import type { CredentialsProvider } from './credentials.ts';
import { createNonces } from './nonce.ts';

/** What a signer is built from. */
export interface SignerOptions {
  /** Credentials, or a function that gives them. It is called again before they expire. */
  readonly credentials: CredentialsProvider;
  /** The name of the service that is called. */
  readonly audience: string;
  /** The wire form: `countersign()` if not given. */
  readonly scheme?: Scheme | undefined;
  /** Gives the time in Unix seconds: the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /** Gives 22 characters of base64url, never the same twice: random ones if not given. */
  readonly nonce?: (() => string) | undefined;
  /** Names of further headers to sign, if the request has them. */
  readonly signedHeaders?: readonly string[] | undefined;
}

const defaults = { scheme: countersign(), clock: () => Date.now() / 1000 };

/**
 * Checks the options of a signer.
 *
 * @param what is built, for messages
 * @throws TypeError naming the option that cannot be used
 */
export function checkOptions(what: string, options: SignerOptions) {
  const {
    credentials,
    audience,
    scheme = defaults.scheme,
    clock = defaults.clock,
    nonce = createNonces(),
    signedHeaders = [],
    ...unknown
  } = options;
  const expect = (name: string, value: unknown, holds: boolean, expected: string): void => {
    if (!holds)
      throw new TypeError(
        `Cannot build ${what}: option ${quote(name)} is ${describeValue(value)}: expected ${expected}`,
      );
  };
  // A misspelt option must not be ignored: with "origin", `createFetch()` would sign for every
  // origin.
  for (const name of Object.keys(unknown))
    throw new TypeError(`Cannot build ${what}: unknown option ${quote(name)}`);
  expect(
    'audience',
    audience,
    typeof audience === 'string' && isAudience(audience),
    'the name of a service: 1 to 128 of A-Z a-z 0-9 . _ : -',
  );
  const methods = [scheme?.prepare, scheme?.stringToSign, scheme?.write];
  const isScheme =
    methods.every((it) => typeof it === 'function') && Array.isArray(scheme.algorithms);
  expect('scheme', scheme, isScheme, 'a scheme such as countersign()');
  const expected = findClockFlaw(clock);
  expect('clock', clock, expected === undefined, expected as string);
  expect('nonce', nonce, typeof nonce === 'function', 'a function that returns a new nonce');
  expect('signedHeaders', signedHeaders, Array.isArray(signedHeaders), 'names of headers');
  for (const [index, name] of signedHeaders.entries())
    expect(`signedHeaders.${index}`, name, typeof name === 'string', 'the name of a header');
  return {
    credentials,
    audience,
    scheme,
    clock: strictClock(clock),
    nonce,
    signedHeaders: new Set(signedHeaders.map((name) => name.toLowerCase())),
  };
}

/**
 * Checks that options are an object before they are destructured. The characters of a string,
 * perhaps of a secret, would become names of options, and messages show those.
 *
 * @throws TypeError if it is not an object
 */
export function checkObject(what: string, given: unknown, fields: string): void {
  if (kindOf(given) === 'object') return;
  throw new TypeError(`Cannot ${what}: expected ${fields}, got ${kindOf(given)}`);
}
