import type { Algorithm } from './algorithms.ts';
import type { SignableRequest } from './canonical-request.ts';
import type { HeaderFields } from './header-fields.ts';
import type { ParsedSignature, SignatureParams, WireFields } from './signature-params.ts';

/** A response as it goes over the wire, without its body, and the request that it answers. */
export interface SignableResponse<P extends SignatureParams = SignatureParams> {
  readonly status: number;
  readonly headers: HeaderFields;
  readonly request: SignableRequest;
  /** The signature of the request. */
  readonly signed: ParsedSignature<P>;
}

/**
 * What a signature of a response must cover besides the body: the status and the signed request.
 */
export type ResponsePart = 'status' | 'request';

/** The parameters of a signature of a response. */
export interface ResponseParams {
  /** The algorithm in the response. It must be the algorithm of the key. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /** What it covers besides the body. It must be both parts, or the signature is refused. */
  readonly covers: readonly ResponsePart[];
  /** The headers that it covers: lower-case names, each once. */
  readonly signedHeaders: readonly string[];
}

/** What a signer of responses decides before anything is signed. */
export interface ResponseIntent {
  /** The algorithm of the key: HMAC-SHA256 if not given. */
  readonly algorithm?: Algorithm | undefined;
  /** Unix seconds. */
  readonly signedAt: number;
  /** Lower-case names of more headers to sign if present, besides `content-type`. */
  readonly signedHeaders?: ReadonlySet<string> | undefined;
}

/** A signature of a response as it was received. */
export interface ParsedResponse {
  readonly params: ResponseParams;
  readonly signature: Uint8Array;
}

/**
 * How a scheme signs responses. A signature covers the request with its signature, so a response to
 * another request is refused, and it covers the body by its SHA-256.
 */
export interface ResponseForm<P extends SignatureParams = SignatureParams> {
  /** Adds to the header fields of the response those that the signature will cover. */
  prepare(
    response: SignableResponse<P>,
    intent: ResponseIntent,
  ): { readonly headers: HeaderFields; readonly params: ResponseParams };
  /** @param bodyHash SHA-256 of the body before any content coding, in lower-case hex */
  stringToSign(response: SignableResponse<P>, params: ResponseParams, bodyHash: string): Uint8Array;
  /** Returns the fields that signing adds to a response. */
  write(
    response: SignableResponse<P>,
    params: ResponseParams,
    signature: Uint8Array,
  ): WireFields['headers'];
  /**
   * @returns `undefined` if the response is not signed
   * @throws SignatureError if its signature is not well-formed, or if there are two
   */
  read(response: SignableResponse<P>): ParsedResponse | undefined;
}
