import {
  countersign,
  httpOriginOf,
  isAudience,
  parseTarget,
  type Scheme,
} from '@countersign/shared';
import * as z from 'zod';
import { clockOption, functionOption, objectOption, parseOptions } from '../lib/options.ts';
import type { Explanation } from './explanation.ts';
import type { FailureLimit } from './failure-limit.ts';
import type { KeyStore } from './key-store.ts';
import type { NonceStore } from './nonce-store.ts';
import type { TargetRules } from './read-request.ts';
import { schemeOption } from './scheme-option.ts';
import type { SessionProvider } from './session-provider.ts';

/** The options of a verifier. Durations are in seconds. */
export interface VerifierOptions {
  /** The name of this service. Requests that were signed for another service are refused. */
  readonly audience: string;
  /** The store with the access keys. */
  readonly keys: KeyStore;
  /** `createSessions()`. Without it, requests with session credentials are refused. */
  readonly sessions?: SessionProvider | undefined;
  /** The nonce store. All servers that accept the same keys for the same audience must share it. */
  readonly nonces: NonceStore;
  /**
   * Limits failed signatures by client address: `createFailureLimit()`. Without it, or if the
   * `clientAddress` of a request is not known, failures are not limited.
   */
  readonly failures?: FailureLimit | undefined;
  /** The schemes that are accepted: our own if not given. */
  readonly schemes?: readonly Scheme[] | undefined;
  /** How long a signed request is valid: 120 if not given, at least 1, at most 3,600. */
  readonly window?: number | undefined;
  /**
   * How far ahead of this server's clock a request may be dated, or a session may begin: 5 if not
   * given, at most 300.
   */
  readonly ahead?: number | undefined;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * The origin that clients call, such as `https://api.example.com`. Set it if a proxy changes
   * `Host`. Clients must have signed its host. Nothing that a client or proxy sends can change it.
   */
  readonly publicOrigin?: string | undefined;
  /** The path prefix that a proxy strips, such as `/v1`. The verifier puts it back. */
  readonly publicPrefix?: string | undefined;
  /**
   * Lower-case names of more headers that must be signed if present: all that the application
   * reads.
   */
  readonly signedHeaders?: readonly string[] | undefined;
  /**
   * How many header fields a request may have: 100 if not given, at most 1,000. With more, it is
   * refused before any field is read.
   */
  readonly maxHeaderFields?: number | undefined;
  /** Presigned URLs: accepted until they expire (if not given), once each, or never. */
  readonly presignedUrls?: 'until-expiry' | 'once' | 'refuse' | undefined;
  /** How long a presigned URL may live: 3,600 if not given, at most 604,800. */
  readonly presignedMaxExpires?: number | undefined;
  /**
   * Requests that declare `UNSIGNED-PAYLOAD`: refused if not given.
   *
   * With `accept-unsigned-bodies` an attacker on the network can hold back a request and send it
   * with another body.
   */
  readonly unsignedPayload?: 'refuse' | 'accept-unsigned-bodies' | undefined;
  /**
   * Requests whose scheme signs the body without declaring its hash: refused if not given. Our
   * scheme always declares it.
   *
   * With `read-before-verifying` the server reads the body before it verifies the signature. So an
   * attacker can make the server hold `limit` bytes for each request.
   */
  readonly undeclaredBody?: 'refuse' | 'read-before-verifying' | undefined;
  /**
   * Called with an explanation of every refusal, for logs. The explanation holds no secret. If the
   * callback throws, a process warning says so.
   */
  readonly onRefused?: ((explanation: Explanation) => unknown) | undefined;
}

const schema = z.strictObject({
  audience: z.string().refine(isAudience, 'a service name: 1 to 128 of A-Z a-z 0-9 . _ : -'),
  keys: z.custom<KeyStore>(
    (store) => !Array.isArray(store) && typeof (store as KeyStore | undefined)?.find === 'function',
    'a key store with find(), such as new MemoryKeyStore([accessKey])',
  ),
  sessions: objectOption<SessionProvider>('find', 'what createSessions() gives').optional(),
  nonces: objectOption<NonceStore>('claim', 'a nonce store with claim()'),
  failures: z.custom<FailureLimit>(isFailureLimit, 'what createFailureLimit() gives').optional(),
  schemes: z
    .array(schemeOption)
    .min(1)
    .refine(haveDistinctNames, 'schemes of different names')
    .default(() => [countersign()]),
  window: z.number().min(1).max(3_600).default(120),
  ahead: z.number().min(0).max(300).default(5),
  clock: clockOption,
  publicOrigin: z
    .string()
    .refine(isOrigin, 'an origin such as https://api.example.com')
    .transform((origin) => new URL(origin).host)
    .optional(),
  publicPrefix: z
    .string()
    .refine(isPrefix, 'a path such as /v1, without a slash at its end')
    .default(''),
  signedHeaders: z
    .array(z.string().regex(/^[!#$%&'*+\-.^_`|~0-9a-z]+$/, 'a lower-case header name'))
    .default([])
    .transform((names) => new Set(names)),
  maxHeaderFields: z.int().min(1).max(1_000).default(100),
  presignedUrls: z.enum(['until-expiry', 'once', 'refuse']).default('until-expiry'),
  presignedMaxExpires: z.int().min(1).max(604_800).default(3_600),
  unsignedPayload: z.enum(['refuse', 'accept-unsigned-bodies']).default('refuse'),
  undeclaredBody: z.enum(['refuse', 'read-before-verifying']).default('refuse'),
  onRefused: functionOption<(explanation: Explanation) => void>().optional(),
});

/** Options with their defaults, as the verifier reads them. */
export type VerifierSettings = z.output<typeof schema> & TargetRules;

/** @throws TypeError or RangeError naming the option that cannot be used */
export function parseVerifierOptions(options: VerifierOptions): VerifierSettings {
  const parsed = parseOptions('verifier', schema, options);
  const isAsSent = parsed.schemes.some((scheme) => scheme.targets === 'as-sent');
  return { ...parsed, targets: isAsSent ? 'as-sent' : 'strict' };
}

function haveDistinctNames(schemes: readonly Scheme[]): boolean {
  return new Set(schemes.map(({ name }) => name)).size === schemes.length;
}

function isFailureLimit(value: unknown): boolean {
  const { check, record } = (value ?? {}) as Partial<FailureLimit>;
  return typeof check === 'function' && typeof record === 'function';
}

function isOrigin(text: string): boolean {
  return httpOriginOf(text) === text;
}

function isPrefix(text: string): boolean {
  try {
    return !text.endsWith('/') && !text.includes('?') && parseTarget(text).path === text;
  } catch {
    return false;
  }
}
