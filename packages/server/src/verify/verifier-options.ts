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

/** What a verifier is built from. Durations are seconds. */
export interface VerifierOptions {
  /** The name of this service. Requests signed for another are refused. */
  readonly audience: string;
  /** Where access keys are looked up. */
  readonly keys: KeyStore;
  /** What opens session tokens: `createSessions()`. Without it requests with session credentials are refused. */
  readonly sessions?: SessionProvider | undefined;
  /** Where nonces are claimed: shared by all servers that accept the same keys for the same audience. */
  readonly nonces: NonceStore;
  /**
   * Limits failed signatures by where they come from: `createFailureLimit()`. Without it, or where a request's `clientAddress` is not
   * known, nothing is limited.
   */
  readonly failures?: FailureLimit | undefined;
  /** The wire forms that are accepted: our own if not given. */
  readonly schemes?: readonly Scheme[] | undefined;
  /** For how long a signed request lives: 120 if not given, at most 3,600. */
  readonly window?: number | undefined;
  /** How far ahead of this server's clock a request may be dated, or a session begin: 5 if not given. */
  readonly ahead?: number | undefined;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * The origin that clients call, such as `https://api.example.com`, where a proxy changes `Host`. Its host is what must
   * have been signed; nothing that a client or proxy sends can change it.
   */
  readonly publicOrigin?: string | undefined;
  /** The path prefix that a proxy strips, such as `/v1`: it is put back before the target is verified. */
  readonly publicPrefix?: string | undefined;
  /** Names of further headers that must be signed where present: all that the application acts on. */
  readonly signedHeaders?: readonly string[] | undefined;
  /** The most header fields of a request: 100 if not given, at most 1,000. With more it is refused before anything is read of it. */
  readonly maxHeaderFields?: number | undefined;
  /** Presigned URLs: usable until they expire (if not given), once each, or not at all. */
  readonly presignedUrls?: 'until-expiry' | 'once' | 'refuse' | undefined;
  /** The most that a presigned URL may live: 3,600 if not given, at most 604,800. */
  readonly presignedMaxExpires?: number | undefined;
  /**
   * Requests that declare `UNSIGNED-PAYLOAD`: refused if not given.
   *
   * `accept-unsigned-bodies` lets whoever watches the wire replace the body of a request that never arrived.
   */
  readonly unsignedPayload?: 'refuse' | 'accept-unsigned-bodies' | undefined;
  /**
   * Requests whose scheme signs the body without declaring its hash: refused if not given. Ours always declares it.
   *
   * `read-before-verifying` reads and hashes the body before the signature is verified, so that strangers can make this server hold as
   * much as its `limit` for each of their requests.
   */
  readonly undeclaredBody?: 'refuse' | 'read-before-verifying' | undefined;
  /** Called with an explanation of every refusal, for logs. It holds no secret. What it throws is a process warning. */
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
