import {
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { findTextFlaw, quote } from '@countersign/shared';
import { isOfSmallOrder } from '../../lib/small-order.ts';
import type { CallbackKey, CallbackScheme } from './callback-scheme.ts';
import { checkCount, isAmong, malformed, parseSeconds, splitHeader } from './signature-headers.ts';

const ID = 'webhook-id';
const TIMESTAMP = 'webhook-timestamp';
const SIGNATURE = 'webhook-signature';

/**
 * Visible ASCII without the full stop, which separates the signed fields. With a full stop in an
 * id, `a.1` at `2` and `a` at `1` with a body that begins with `2.` would have the same signature.
 */
const VALID_ID = /^[!-\-/-~]{1,256}$/;
const SYMMETRIC = 'v1,';
const ASYMMETRIC = 'v1a,';

/** The bytes before the 32 bytes of an Ed25519 private key in PKCS #8 (RFC 8410 section 7). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The fewest different bytes in a secret. A random secret has more. */
const FEWEST_DIFFERENT = 6;

const scheme: CallbackScheme = {
  name: 'standard-webhooks',

  parseKey(text) {
    const flaw = findTextFlaw(String(text));
    if (flaw !== undefined) throw noKey(flaw);
    const [, prefix = '', base64 = ''] = /^(whsec_|whpk_|whsk_)(.*)$/s.exec(String(text)) ?? [];
    if (prefix === '') throw noKey('it begins with none of "whsec_", "whpk_" and "whsk_"');
    const bytes = decodeBase64(base64);
    if (bytes === undefined) throw noKey(`what follows ${quote(prefix)} is not canonical base64`);
    if (prefix === 'whsec_') return symmetricKey(bytes);
    return prefix === 'whpk_' ? publicKey(bytes) : privateKey(bytes);
  },

  read(headers) {
    const value = headers.get(SIGNATURE);
    if (value === undefined) return undefined;
    const signatures = checkCount(splitHeader(SIGNATURE, value, ' '), SIGNATURE);
    const id = headers.get(ID);
    if (id === undefined) throw malformed(`${quote(ID)} is missing`);
    if (!VALID_ID.test(id))
      throw malformed(`${quote(ID)} is ${quote(id)}, expected ${EXPECTED_ID}`);
    return { id, signedAt: parseSeconds(TIMESTAMP, headers.get(TIMESTAMP)), signatures };
  },

  content({ id, signedAt }, body) {
    return Buffer.concat([Buffer.from(`${id}.${signedAt}.`, 'utf8'), body]);
  },

  write({ id, signedAt }, signatures) {
    if (!VALID_ID.test(id))
      throw new TypeError(`Cannot write callback id ${quote(id)}: expected ${EXPECTED_ID}`);
    if (!(Number.isSafeInteger(signedAt) && signedAt >= 0))
      throw new RangeError(
        `Cannot write callback time ${quote(signedAt)}: expected whole Unix seconds`,
      );
    return { [ID]: id, [TIMESTAMP]: String(signedAt), [SIGNATURE]: signatures.join(' ') };
  },
};

const EXPECTED_ID = '1 to 256 visible ASCII characters without "."';

/**
 * The format that most senders of callbacks have agreed on: `webhook-id`, `webhook-timestamp` and
 * `webhook-signature`, with HMAC-SHA256 (`v1`) or Ed25519 (`v1a`).
 *
 * Keys are `whsec_` (shared, 24 to 64 bytes), `whpk_` (Ed25519, public: verifies only) and `whsk_`
 * (Ed25519, private: the seed of 32 bytes, or seed and public key, 64), each followed by base64.
 *
 * @example
 * ```ts
 * import { standardWebhooks } from '@countersign/server/callbacks';
 *
 * const scheme = standardWebhooks();
 * const key = scheme.parseKey('whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH');
 * const params = { id: 'msg_1', signedAt: 1_795_300_000 };
 * const content = scheme.content(params, new TextEncoder().encode('{"type":"video.parsed"}'));
 * const headers = scheme.write?.(params, [key.sign?.(content) ?? '']);
 * console.assert(headers?.['webhook-signature']?.startsWith('v1,'));
 * ```
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function standardWebhooks(): CallbackScheme {
  return scheme;
}

function symmetricKey(bytes: Buffer): CallbackKey {
  if (!(bytes.length >= 24 && bytes.length <= 64))
    throw noKey(`it has ${bytes.length} bytes, 24 to 64 are expected after "whsec_"`);
  checkVariety(bytes);
  const secret = createSecretKey(bytes);
  const signContent = (content: Uint8Array): string =>
    SYMMETRIC + createHmac('sha256', secret).update(content).digest('base64');
  return {
    sign: signContent,
    // Compare as text, so that only one spelling of the bytes is accepted.
    verify: (content, signatures) => isAmong(signContent(content), signatures),
  };
}

function publicKey(bytes: Buffer): CallbackKey {
  if (!(bytes.length === 32))
    throw noKey(`it has ${bytes.length} bytes, 32 are expected after "whpk_"`);
  if (isOfSmallOrder(bytes))
    throw noKey(
      'it is a point of small order: an attacker could sign with it, without a private key',
    );
  const x = bytes.toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  return { verify: (content, signatures) => verifiesOne(key, content, signatures) };
}

function privateKey(bytes: Buffer): CallbackKey {
  if (!(bytes.length === 32 || bytes.length === 64))
    throw noKey(`it has ${bytes.length} bytes, 32 or 64 are expected after "whsk_"`);
  checkVariety(bytes.subarray(0, 32));
  const der = Buffer.concat([PKCS8, bytes.subarray(0, 32)]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const counterpart = createPublicKey(key);
  const { x } = counterpart.export({ format: 'jwk' });
  if (bytes.length === 64 && !(x === bytes.toString('base64url', 32)))
    throw noKey('its public half does not belong to its private half');
  return {
    sign: (content) => ASYMMETRIC + sign(null, content, key).toString('base64'),
    verify: (content, signatures) => verifiesOne(counterpart, content, signatures),
  };
}

function verifiesOne(key: KeyObject, content: Uint8Array, signatures: readonly string[]): boolean {
  let found = false;
  for (const signature of signatures) {
    if (!signature.startsWith(ASYMMETRIC)) continue;
    const bytes = decodeBase64(signature.slice(ASYMMETRIC.length));
    const matches = bytes?.length === 64 && verify(null, content, key, bytes);
    found = matches || found;
  }
  return found;
}

/** All zeros, or one letter repeated, is a placeholder and not a secret. */
function checkVariety(bytes: Uint8Array): void {
  if (!(new Set(bytes).size >= FEWEST_DIFFERENT)) throw noKey('it repeats a few bytes');
}

/**
 * Decodes only canonical base64. A lenient decoder would accept many texts for one key or
 * signature.
 */
function decodeBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** The message never shows the key: it may be a valid key of another service. */
function noKey(why: string): TypeError {
  return new TypeError(`Cannot read callback key: ${why}`);
}
