import {
  type BodyClaim,
  mustBeSigned,
  type SignableRequest,
  SignatureError,
  type TargetPart,
} from '@countersign/shared';
import { formatClientAddress } from '../lib/format-client-address.ts';
import type { Attempt } from './attempt.ts';
import { lifetime } from './check-window.ts';
import { CHECKS, type Component, type Explanation } from './explanation.ts';
import type { VerifierSettings } from './verifier-options.ts';

/** Headers whose value lets its bearer in, in every scheme. */
const CONFIDENTIAL = [
  'authorization',
  'cookie',
  'proxy-authorization',
  'x-countersign-session-token',
];
const REDACTED = '(redacted)';

/** Describes what the checks saw. It looks nothing up and changes nothing. */
export function describeAttempt(
  attempt: Attempt,
  settings: VerifierSettings,
  error: SignatureError | undefined,
): Explanation {
  const { request, signed, key } = attempt;
  return {
    outcome: error === undefined ? 'accepted' : 'refused',
    code: error?.code,
    reason: error?.reason,
    message: error?.message,
    checks: formatChecks(error, attempt),
    scheme: signed?.scheme.name,
    clientAddress: formatClientAddress(attempt.clientAddress),
    epoch: error?.epoch,
    echoedEpoch: signed?.params.epoch,
    accessKeyId: signed?.params.accessKeyId,
    subject: key?.accessKey?.subject,
    components: request === undefined ? [] : formatComponents(request, attempt, settings),
    ...formatCanonical(attempt, settings),
  };
}

function formatChecks(
  error: SignatureError | undefined,
  { check: current, passed }: Attempt,
): Explanation['checks'] {
  const results = CHECKS.map((check) => {
    if (error !== undefined && check === current) return [check, 'failed'];
    return [check, passed.includes(check) ? 'passed' : 'not made'];
  });
  return Object.fromEntries(results) as Explanation['checks'];
}

function formatComponents(
  request: SignableRequest,
  { signed, now, bodyHash }: Attempt,
  settings: VerifierSettings,
): Component[] {
  const covered = new Set(signed?.params.signedHeaders);
  const isCovered = (part: TargetPart): boolean => signed?.params.covers?.includes(part) === true;
  const confidential = confidentialOf(settings);
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
      (covered.has(name) || mustBeSigned(name) || settings.signedHeaders.has(name));
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
    const allowed = lifetime(signed.params, settings);
    const age = Math.round((now - signedAt) * 10) / 10;
    components.push({
      component: 'body hash',
      saw: body === undefined ? (bodyHash ?? '(not declared)') : formatBody(body),
      signed: body !== 'unsigned',
    });
    components.push({
      component: 'time',
      saw: `signed at ${signedAt}, ${age} s ago by this server's clock; ${allowed} s are allowed, ${settings.ahead} s ahead`,
      signed: true,
    });
  }
  return components;
}

function formatBody(body: BodyClaim): string {
  if (body === 'unsigned') return 'UNSIGNED-PAYLOAD';
  if (body === 'chunks') return '(signed in chunks)';
  return 'sha256' in body ? body.sha256 : body.sha512;
}

/** Shows the canonical request also if the request was refused before a check needed it. */
function formatCanonical(
  { request, signed, bodyHash }: Attempt,
  settings: VerifierSettings,
): Pick<Explanation, 'canonicalRequest' | 'stringToSign'> {
  if (request === undefined || signed === undefined) return {};
  const { scheme, params } = signed;
  // It cannot be built without the hash of the body.
  if (params.body === undefined && bodyHash === undefined) return {};
  const hide = createRedaction(request, confidentialOf(settings));
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

/** In some schemes the string to sign holds the signed values themselves, and not their hash. */
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
  // The longest first, because one value may be a part of another.
  const secrets = values.filter((it) => it !== '').sort((a, b) => b.length - a.length);
  return (text) => secrets.reduce((shown, secret) => shown.replaceAll(secret, REDACTED), text);
}

function confidentialOf({ schemes }: VerifierSettings): ReadonlySet<string> {
  return new Set([...CONFIDENTIAL, ...schemes.flatMap((scheme) => scheme.confidential ?? [])]);
}

/** Decodes the name first: an escaped name is confidential, too. */
function redactPair(pair: string, confidential: ReadonlySet<string>): string {
  const [name = ''] = pair.split('=', 1);
  const decoded = decodeName(name).toLowerCase();
  const isSecret = decoded.includes('signature') || confidential.has(decoded);
  return isSecret ? `${name}=${REDACTED}` : pair;
}

/**
 * Some schemes sign targets whose escapes are not UTF-8. Each escape alone can always be decoded.
 */
function decodeName(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name.replace(/%([\da-f]{2})/gi, (_, hex) => String.fromCharCode(Number(`0x${hex}`)));
  }
}
