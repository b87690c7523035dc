import { encodeUtf8, importMacKey } from '#digest';
import type { SignableRequest } from './canonical-request.ts';
import type { MacKey } from './digest.ts';
import type { Scheme, SignatureParams, SigningIntent, WireFields } from './scheme.ts';

/** Makes a signature of what a scheme asks to be signed. */
export type MakeSignature = (
  scheme: Scheme,
  params: SignatureParams,
  stringToSign: Uint8Array,
) => Uint8Array | Promise<Uint8Array>;

/** Signs a request: the one way from what is to be signed to what goes over the wire. */
export function signRequest(
  scheme: Scheme,
  unsigned: SignableRequest,
  intent: SigningIntent,
  makeSignature: MakeSignature,
): WireFields | Promise<WireFields> {
  const { request, params } = scheme.prepare(unsigned, intent);
  const { body } = intent;
  const bodyHash = body !== 'unsigned' && 'sha256' in body ? body.sha256 : undefined;
  const stringToSign = scheme.stringToSign(request, params, bodyHash);
  const signature = makeSignature(scheme, params, stringToSign);
  if (signature instanceof Uint8Array) return scheme.write(request, params, signature);
  return signature.then((bytes) => scheme.write(request, params, bytes));
}

/** The key that a scheme signs with, of a secret. */
export function deriveMacKey(scheme: Scheme, params: SignatureParams, secret: string): MacKey {
  const bytes = encodeUtf8(secret);
  return importMacKey(scheme.derive?.key(bytes, params) ?? bytes);
}
