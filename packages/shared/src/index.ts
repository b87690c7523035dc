export {
  createSha256,
  encodeUtf8,
  hmacSha256,
  importMacKey,
  sha256Hex,
  verifyHmacSha256,
} from '#digest';
export { importPrivateKey } from '#private-key';
export {
  ALGORITHMS,
  type Algorithm,
  algorithmsOf,
  FEWEST_RSA_BITS,
  isAlgorithm,
  isSignatureLength,
  MOST_RSA_BITS,
  type PublicKeyAlgorithm,
  type SignKey,
  type VerifyKey,
} from './algorithms.ts';
export type { BodyJudge } from './body-judge.ts';
export { encodeBase64Url, encodeHex, isSha256Hex } from './bytes.ts';
export { mustBeSigned, OWN_PREFIX } from './canonical-headers.ts';
export type { SignableRequest } from './canonical-request.ts';
export { findClockFlaw, isTime, LATEST_TIME, strictClock } from './clock.ts';
export { isAccessKeyId, isAudience } from './credential-scope.ts';
export type { MacKey, Sha256 } from './digest.ts';
export {
  describeValue,
  kindOf,
  quote,
  type RefusalReason,
  SignatureError,
  type SignatureErrorCode,
  type SignatureErrorOptions,
} from './errors.ts';
export { HeaderFields, type HeadersInput, isNamed, readHeaders } from './header-fields.ts';
export { checkHost, httpOriginOf } from './host.ts';
export { splitMasterKey } from './master-key.ts';
export { isMethod } from './method.ts';
export { isEpoch, isNonce } from './nonce.ts';
export type {
  ParsedResponse,
  ResponseForm,
  ResponseIntent,
  ResponseParams,
  ResponsePart,
  SignableResponse,
} from './response-form.ts';
export type { KeyDerivation, Scheme } from './scheme.ts';
export {
  type CountersignParams,
  EMPTY_SHA256,
  UNSIGNED_PAYLOAD,
} from './schemes/countersign/params.ts';
export { countersign } from './schemes/countersign/scheme.ts';
export { findSecretFlaw, findTextFlaw } from './secret.ts';
export {
  deriveMacKey,
  type MakeSignature,
  type SealedRequest,
  signRequest,
  signStreamedRequest,
} from './sign-request.ts';
export { signResponse, verifyResponse } from './sign-response.ts';
export {
  type BodyClaim,
  type ParsedSignature,
  type SignatureParams,
  type SigningIntent,
  type TargetPart,
  WHOLE_TARGET,
  type WireFields,
} from './signature-params.ts';
export { checkEscapes, parseTarget, type Target } from './target.ts';
export { formatTimestamp, parseTimestamp } from './timestamp.ts';
export { toUrl } from './to-url.ts';
export type { Jwk, NodeKeyObject, PrivateKeyInput, WebCryptoKey } from './web-keys.ts';
