import { sha256Hex } from '#digest';
import type { VerifyKey } from './algorithms.ts';
import { quote, SignatureError } from './errors.ts';
import { isNamed } from './header-fields.ts';
import type {
  ResponseForm,
  ResponseIntent,
  ResponseParams,
  ResponsePart,
  SignableResponse,
} from './response-form.ts';
import type { Scheme } from './scheme.ts';
import type { MakeSignature } from './sign-request.ts';
import type { WireFields } from './signature-params.ts';

const WHOLE_RESPONSE: readonly ResponsePart[] = ['status', 'request'];

/**
 * Signs a response.
 *
 * @param body the whole body before any content coding, as the client's program will read it
 * @param makeSignature called with the parameters of the request's signature, so that the same key
 * is derived as for the request
 * @returns the fields that signing adds to the response
 * @throws TypeError if the scheme does not sign responses
 */
export function signResponse(
  scheme: Scheme,
  unsigned: SignableResponse,
  body: string | Uint8Array,
  intent: ResponseIntent,
  makeSignature: MakeSignature,
): WireFields['headers'] | Promise<WireFields['headers']> {
  const form = formOf(scheme);
  const { headers, params } = form.prepare(unsigned, intent);
  const response = { ...unsigned, headers };
  const stringToSign = form.stringToSign(response, params, sha256Hex(body));
  const signature = makeSignature(scheme, response.signed.params, stringToSign);
  if (signature instanceof Uint8Array) return form.write(response, params, signature);
  return signature.then((bytes) => form.write(response, params, bytes));
}

/**
 * Verifies that the holder of the key gave this answer to this request. The caller must check
 * whether the response is recent.
 *
 * @param response as it was received, with the request as it was sent
 * @param body the whole body, after any content coding was removed
 * @param key the key of the server. If both sides share a secret, the key derived for the request
 * @param signedHeaders lower-case names of headers that must be signed if present, besides
 * `content-type`: all that the program reads
 * @returns the parameters of the signature
 * @throws SignatureError `ERR_SIGNATURE_MISSING`, `ERR_COMPONENT_NOT_COVERED`,
 * `ERR_SIGNATURE_MISMATCH`, and what the scheme's form throws
 * @throws TypeError if the scheme does not sign responses
 */
export function verifyResponse(
  scheme: Scheme,
  response: SignableResponse,
  body: string | Uint8Array,
  key: VerifyKey,
  signedHeaders?: ReadonlySet<string>,
): ResponseParams {
  const form = formOf(scheme);
  const received = form.read(response);
  if (received === undefined)
    throw new SignatureError('ERR_SIGNATURE_MISSING', 'The response is not signed');
  const { params, signature } = received;
  checkCoverage(response, params, signedHeaders);
  const { algorithm } = key;
  if ((params.algorithm ?? algorithm) !== algorithm)
    throw mismatch(`it is signed with ${quote(params.algorithm)}, the key is for ${algorithm}`);
  if (!scheme.algorithms.includes(algorithm))
    throw mismatch(`the key is for ${algorithm}, which ${scheme.name} has no form for`);
  const stringToSign = form.stringToSign(response, params, sha256Hex(body));
  if (key.verify(stringToSign, signature) !== true)
    throw mismatch('status, headers, body or request are not those that were signed');
  return params;
}

function formOf({ name, responses }: Scheme): ResponseForm {
  if (responses !== undefined) return responses;
  throw new TypeError(`Cannot use a signed response: the scheme ${name} has no form for responses`);
}

function checkCoverage(
  { headers }: SignableResponse,
  { covers, signedHeaders }: ResponseParams,
  further: ReadonlySet<string> | undefined,
): void {
  const missing = WHOLE_RESPONSE.find((part) => covers?.includes(part) !== true);
  if (missing !== undefined) throw notCovered(`the ${missing}`);
  for (const name of headers.names) {
    const mustBeSigned = isNamed(name, 'content-type') || further?.has(name) === true;
    if (mustBeSigned && signedHeaders?.includes(name) !== true)
      throw notCovered(`header ${quote(name)}`);
  }
}

function notCovered(what: string): SignatureError {
  return new SignatureError(
    'ERR_COMPONENT_NOT_COVERED',
    `The signature of the response does not cover ${what}`,
  );
}

function mismatch(why: string): SignatureError {
  return new SignatureError('ERR_SIGNATURE_MISMATCH', `The response is not genuine: ${why}`);
}
