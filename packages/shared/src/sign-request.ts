import { encodeUtf8, importMacKey } from '#digest';
import type { SignableRequest } from './canonical-request.ts';
import type { MacKey } from './digest.ts';
import type { Scheme } from './scheme.ts';
import type { SignatureParams, SigningIntent, WireFields } from './signature-params.ts';

/** Makes a signature of the bytes that a scheme signs. */
export type MakeSignature = (
  scheme: Scheme,
  params: SignatureParams,
  stringToSign: Uint8Array,
) => Uint8Array | Promise<Uint8Array>;

/** A request with its signature, and a way to write the body that belongs to it. */
export interface SealedRequest {
  readonly fields: WireFields;
  readonly body: AsyncIterable<Uint8Array>;
}

/** Signs a request. All signed requests are made here. */
export function signRequest(
  scheme: Scheme,
  unsigned: SignableRequest,
  intent: SigningIntent,
  makeSignature: MakeSignature,
): WireFields | Promise<WireFields> {
  const { request, params } = scheme.prepare(unsigned, intent);
  const stringToSign = scheme.stringToSign(request, params, hashOf(intent));
  const signature = makeSignature(scheme, params, stringToSign);
  if (signature instanceof Uint8Array) return scheme.write(request, params, signature);
  return signature.then((bytes) => scheme.write(request, params, bytes));
}

/**
 * Signs a request whose body is signed in chunks, so that the body can be sent while it is made.
 *
 * @param unsigned without `Content-Length`: the body that is sent is longer than the given one
 * @throws TypeError if the scheme does not sign bodies in chunks
 */
export async function signStreamedRequest(
  scheme: Scheme,
  unsigned: SignableRequest,
  intent: Omit<SigningIntent, 'body'>,
  body: AsyncIterable<Uint8Array>,
  makeSignature: MakeSignature,
): Promise<SealedRequest> {
  if (scheme.sealBody === undefined)
    throw new TypeError(
      `Cannot sign a body in chunks: the scheme ${scheme.name} has no form for it`,
    );
  const { request, params } = scheme.prepare(unsigned, { ...intent, body: 'chunks' });
  const sign = (bytes: Uint8Array) => makeSignature(scheme, params, bytes);
  const signature = await sign(scheme.stringToSign(request, params));
  const { algorithm = 'hmac-sha256' } = intent;
  return {
    fields: scheme.write(request, params, signature),
    body: scheme.sealBody(body, request, params, signature, { algorithm, sign }),
  };
}

function hashOf({ body }: SigningIntent): string | undefined {
  return typeof body === 'object' && 'sha256' in body ? body.sha256 : undefined;
}

/** The signing key that a scheme makes of a secret. */
export function deriveMacKey(scheme: Scheme, params: SignatureParams, secret: string): MacKey {
  const bytes = encodeUtf8(secret);
  return importMacKey(scheme.derive?.key(bytes, params) ?? bytes);
}
