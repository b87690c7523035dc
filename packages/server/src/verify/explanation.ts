import {
  type BodyClaim,
  mustBeSigned,
  type RefusalReason,
  type SignableRequest,
  SignatureError,
  type SignatureErrorCode,
  type TargetPart,
} from '@countersign/shared';
import { clientAddress } from '../lib/client-address.ts';
import { lifetime } from './check-window.ts';
import type { Attempt } from './verifier.ts';
import type { VerifierPolicy } from './verifier-options.ts';

/** The checks of a verifier, in their order. */
const checks = [
  'syntax',
  'time',
  'failures',
  'coverage',
  'key',
  'signature',
  'body',
  'nonce',
] as const;
type Check = (typeof checks)[number];

/** Which check a code belongs to. What is not named here is found while a request is read. */
const checkOf: Partial<Record<SignatureErrorCode, Check>> = {
  ERR_SIGNATURE_EXPIRED: 'time',
  ERR_SIGNATURE_NOT_YET_VALID: 'time',
  ERR_TOO_MANY_FAILURES: 'failures',
  ERR_COMPONENT_NOT_COVERED: 'coverage',
  ERR_KEY_STORE_FAILED: 'key',
  ERR_KEY_UNKNOWN: 'key',
  ERR_KEY_INACTIVE: 'key',
  ERR_SIGNATURE_MISMATCH: 'signature',
  ERR_BODY_MISMATCH: 'body',
  ERR_BODY_TOO_LARGE: 'body',
  ERR_BODY_CONSUMED: 'body',
  ERR_NONCE_REUSED: 'nonce',
  ERR_NONCE_UNCERTAIN: 'nonce',
  ERR_TOO_MANY_REQUESTS: 'nonce',
  ERR_NONCE_STORE_FAILED: 'nonce',
};

/** One thing that a signature covers, or should. */
export interface Component {
  /** `method`, `path`, `query`, `header <name>`, `body hash` or `time`. */
  readonly component: string;
  /** What the server saw; values of headers that are not signed, or are confidential, are left out. */
  readonly saw: string;
  readonly signed: boolean;
}

/** What became of a request, and why. Plain data without a secret in it: `JSON.stringify` makes a log line of it. */
export interface Explanation {
  readonly outcome: 'accepted' | 'refused';
  /** Why it was refused. */
  readonly code?: SignatureErrorCode | undefined;
  /** The word that the client was told. */
  readonly reason?: RefusalReason | undefined;
  readonly message?: string | undefined;
  /** Each check: `passed`, `failed`, or `not made` because an earlier one failed or nothing is claimed for an explanation. */
  readonly checks: Readonly<Record<Check, 'passed' | 'failed' | 'not made'>>;
  readonly scheme?: string | undefined;
  /** The network address that the request came from, if it is known. One that is no plain text is quoted. */
  readonly clientAddress?: string | undefined;
  /** The epoch of the nonce store, if the store was asked and has refused the request. */
  readonly epoch?: string | undefined;
  /** The epoch that the request echoed. */
  readonly echoedEpoch?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly subject?: string | undefined;
  readonly components: readonly Component[];
  /** As this server built it, confidential header values left out: hold it against the one that was signed. */
  readonly canonicalRequest?: string | undefined;
  readonly stringToSign?: string | undefined;
}

/** Headers that carry something which lets its bearer in, whatever the scheme. */
const CONFIDENTIAL = [
  'authorization',
  'cookie',
  'proxy-authorization',
  'x-countersign-session-token',
];
const REDACTED = '(redacted)';

/** Tells what the steps saw. Pure: it looks nothing up and changes nothing. */
export function describeAttempt(
  attempt: Attempt,
  policy: VerifierPolicy,
  error: SignatureError | undefined,
): Explanation {
  const { request, signed, key } = attempt;
  return {
    outcome: error === undefined ? 'accepted' : 'refused',
    code: error?.code,
    reason: error?.reason,
    message: error?.message,
    checks: tellChecks(error, attempt),
    scheme: signed?.scheme.name,
    clientAddress: clientAddress(attempt.source),
    epoch: error?.epoch,
    echoedEpoch: signed?.params.epoch,
    accessKeyId: signed?.params.accessKeyId,
    subject: key?.accessKey?.subject,
    components: request === undefined ? [] : tellComponents(request, attempt, policy),
    ...tellCanonical(attempt, policy),
  };
}

function tellChecks(
  error: SignatureError | undefined,
  { key, claimed }: Attempt,
): Explanation['checks'] {
  const failed =
    error === undefined ? checks.length : checks.indexOf(checkOf[error.code] ?? 'syntax');
  // Failures are looked at once more when the key was found.
  const passed = key === undefined ? failed : Math.max(failed, checks.indexOf('key'));
  const results = checks.map((check, index) => {
    if (index === failed) return [check, 'failed'];
    return [check, index < passed && (check !== 'nonce' || claimed) ? 'passed' : 'not made'];
  });
  return Object.fromEntries(results) as Explanation['checks'];
}

function tellComponents(
  request: SignableRequest,
  { signed, now, bodyHash }: Attempt,
  policy: VerifierPolicy,
): Component[] {
  const covered = new Set(signed?.params.signedHeaders);
  const isCovered = (part: TargetPart): boolean => signed?.params.covers?.includes(part) === true;
  const confidential = confidentialOf(policy);
  const withoutSecret = (pair: string): string => redactPair(pair, confidential);
  const components: Component[] = [
    { component: 'method', saw: request.method, signed: isCovered('method') },
    { component: 'path', saw: request.path, signed: isCovered('path') },
    {
      component: 'query',
      saw: request.query.split('&').map(withoutSecret).join('&'),
      signed: isCovered('query'),
    },
  ];
  for (const [index, name] of request.headers.names.entries()) {
    const shown =
      !confidential.has(name) &&
      (covered.has(name) || mustBeSigned(name) || policy.signedHeaders.has(name));
    components.push({
      component: `header ${name}`,
      saw: shown ? (request.headers.raw[2 * index + 1] as string) : REDACTED,
      signed: covered.has(name),
    });
  }
  for (const name of covered) {
    if (!request.headers.names.includes(name))
      components.push({ component: `header ${name}`, saw: '(absent)', signed: true });
  }
  if (signed !== undefined) {
    const { signedAt, body } = signed.params;
    const allowed = lifetime(signed.params, policy);
    const age = Math.round((now - signedAt) * 10) / 10;
    components.push({
      component: 'body hash',
      saw: body === undefined ? (bodyHash ?? '(not declared)') : tellBody(body),
      signed: body !== 'unsigned',
    });
    components.push({
      component: 'time',
      saw: `signed at ${signedAt}, ${age} s ago by this server's clock; ${allowed} s are allowed, ${policy.ahead} s ahead`,
      signed: true,
    });
  }
  return components;
}

function tellBody(body: BodyClaim): string {
  if (body === 'unsigned') return 'UNSIGNED-PAYLOAD';
  return 'sha256' in body ? body.sha256 : body.sha512;
}

/** What can be built is shown also where the request was refused before it was needed. */
function tellCanonical(
  { request, signed, bodyHash }: Attempt,
  policy: VerifierPolicy,
): Pick<Explanation, 'canonicalRequest' | 'stringToSign'> {
  if (request === undefined || signed === undefined) return {};
  const { scheme, params } = signed;
  // It cannot be told without the hash of the body.
  if (params.body === undefined && bodyHash === undefined) return {};
  const hide = createRedaction(request, confidentialOf(policy));
  try {
    const stringToSign = scheme.stringToSign(request, params, bodyHash);
    return {
      canonicalRequest: hide(scheme.canonicalRequest(request, params, bodyHash)),
      stringToSign: hide(new TextDecoder().decode(stringToSign)),
    };
  } catch (error) {
    if (error instanceof SignatureError) return {};
    throw error;
  }
}

/** In some schemes the string to sign is no hash, but holds what was signed. */
function createRedaction(
  { headers, query }: SignableRequest,
  confidential: ReadonlySet<string>,
): (text: string) => string {
  const values: string[] = [];
  for (let index = 0; index < headers.raw.length; index += 2) {
    if (confidential.has((headers.raw[index] as string).toLowerCase()))
      values.push((headers.raw[index + 1] as string).trim());
  }
  for (const pair of query.split('&')) {
    const redacted = redactPair(pair, confidential);
    if (redacted !== pair) values.push(pair.slice(redacted.length - REDACTED.length));
  }
  // The longest first: one may be a part of another.
  const secrets = values.filter((it) => it !== '').sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((shown, secret) => shown.replaceAll(secret, REDACTED), text);
}

function confidentialOf({ schemes }: VerifierPolicy): ReadonlySet<string> {
  return new Set([...CONFIDENTIAL, ...schemes.flatMap((scheme) => scheme.confidential ?? [])]);
}

/** However its name is written: a reader that decodes names would find it. */
function redactPair(pair: string, confidential: ReadonlySet<string>): string {
  const [name = ''] = pair.split('=', 1);
  const decoded = decodeURIComponent(name).toLowerCase();
  const isSecret = decoded.includes('signature') || confidential.has(decoded);
  return isSecret ? `${name}=${REDACTED}` : pair;
}
