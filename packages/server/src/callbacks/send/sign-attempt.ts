import { randomBytes } from 'node:crypto';
import {
  countersign,
  deriveMacKey,
  HeaderFields,
  hmacSha256,
  importPrivateKey,
  parseTarget,
  type Scheme,
  sha256Hex,
  signRequest,
} from '@countersign/shared';
import type { CallbackScheme } from '../schemes/callback-scheme.ts';
import type { CheckedEndpoint } from './callback-endpoint.ts';
import type { QueuedCallback } from './queue/callback-queue.ts';

/**
 * Writes the headers of one attempt. Each attempt is signed again, because the receiver would
 * refuse an old timestamp as a replay.
 *
 * @throws TypeError if a secret cannot sign; the message does not show the secret
 */
export async function signAttempt(
  { eventId, contentType, body }: QueuedCallback,
  endpoint: CheckedEndpoint,
  { scheme, url, signedAt }: { scheme: CallbackScheme; url: URL; signedAt: number },
): Promise<Record<string, string>> {
  const headers = { 'content-type': contentType };
  if (endpoint.credentials !== undefined)
    return { ...headers, ...(await asRequest(endpoint, url, headers, body, signedAt)) };
  const params = { id: eventId, signedAt };
  const content = scheme.content(params, body);
  const signatures = readSecrets(endpoint, scheme).map((sign) => sign(content));
  if (scheme.write === undefined)
    throw new TypeError(`Cannot send callbacks of scheme "${scheme.name}": it is only received`);
  return { ...headers, ...scheme.write(params, signatures) };
}

/**
 * Reads the secrets of an endpoint, and returns a function for each that signs with it.
 *
 * @throws TypeError if one cannot sign; the message does not show it
 */
export function readSecrets(
  { secrets = [] }: CheckedEndpoint,
  scheme: CallbackScheme,
): ((content: Uint8Array) => string)[] {
  return secrets.map((secret) => {
    const { sign } = scheme.parseKey(secret);
    if (sign === undefined) throw new TypeError('Cannot sign callback with a public key');
    return sign;
  });
}

/** Signs like a client. Each attempt has its own nonce, because a server accepts a nonce once. */
async function asRequest(
  { credentials, audience }: CheckedEndpoint,
  url: URL,
  given: Record<string, string>,
  body: Uint8Array,
  signedAt: number,
): Promise<Record<string, string>> {
  const { accessKeyId, secretAccessKey, privateKey } = credentials as NonNullable<
    typeof credentials
  >;
  const key = privateKey === undefined ? undefined : await importPrivateKey(privateKey);
  const raw = [...Object.entries(given), ['host', url.host]].flat() as string[];
  const unsigned = {
    method: 'POST',
    ...parseTarget(`${url.pathname}${url.search}`),
    headers: new HeaderFields(raw),
  };
  const intent = {
    accessKeyId,
    audience: audience as string,
    algorithm: key?.algorithm,
    signedAt,
    nonce: randomBytes(16).toString('base64url'),
    body: { sha256: sha256Hex(body) },
  };
  const written = await signRequest(
    countersign() as Scheme,
    unsigned,
    intent,
    (scheme, params, stringToSign) =>
      key?.sign(stringToSign) ??
      hmacSha256(deriveMacKey(scheme, params, secretAccessKey as string), stringToSign),
  );
  return Object.fromEntries(written.headers);
}
