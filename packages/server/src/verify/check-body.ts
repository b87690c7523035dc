import { setImmediate as yieldToEvents } from 'node:timers/promises';
import {
  createSha256,
  EMPTY_SHA256,
  SignatureError,
  type SignatureParams,
  sha256Hex,
  UNSIGNED_PAYLOAD,
} from '@countersign/shared';
import { lifetime, type Window } from '../steps/window.ts';

/**
 * The body of a request that is being verified. An adapter reads the body only when the core asks
 * for it. It delivers all bytes, or a stream with a check at its end. The end of the stream decides
 * whether a body is whole; headers do not. Only the core compares hashes, never an adapter.
 */
export interface IncomingBody {
  /**
   * Delivers all bytes when their stream has ended. The application can read the same bytes
   * afterwards.
   *
   * @param seconds for how long the request is still valid. Waiting longer for its body is
   * pointless
   * @throws SignatureError `ERR_BODY_TOO_LARGE`, `ERR_BODY_CONSUMED`, `ERR_BODY_MISMATCH`,
   * `ERR_SIGNATURE_EXPIRED`
   */
  bytes(seconds: number): Promise<Uint8Array> | Uint8Array;
  /**
   * If present, it is called instead of `bytes`. The adapter passes every piece to `check` on its
   * way to the application, and calls `check.end()` at the end. If that returns, the adapter lets
   * the end of the stream through. If it throws, the stream must fail.
   */
  readonly stream?: ((check: BodyCheck) => void) | undefined;
}

/** Checks a body while it passes through. */
export interface BodyCheck {
  push(bytes: Uint8Array): void;
  /** @throws SignatureError `ERR_BODY_MISMATCH` */
  end(): void;
}

/** A body as it was received: bytes, text, nothing, or a way to read it. */
export type ReceivedBody = Uint8Array | string | IncomingBody | undefined;

/** What the server allows of bodies, and for how long it waits for them. */
export interface BodyPolicy extends Window {
  readonly unsignedPayload: 'refuse' | 'accept-unsigned-bodies';
}

/**
 * Larger bodies are hashed in pieces of this size, in bytes, so that other requests are served in
 * between.
 */
const LARGEST_PIECE = 1_048_576;

/**
 * Compares the hash of the body with the declared hash.
 *
 * @param body what was received; text is taken as UTF-8, nothing as an empty body
 * @param now Unix seconds
 * @param onMismatch called if a streamed body is not the signed one
 * @throws SignatureError what {@link IncomingBody.bytes} throws; `ERR_BODY_MISMATCH` if the hashes
 * differ; `ERR_COMPONENT_NOT_COVERED` if the body is not signed and the server does not accept that
 */
export function checkBody(
  body: ReceivedBody,
  params: SignatureParams,
  policy: BodyPolicy,
  now: number,
  onMismatch: (error: SignatureError) => void,
): Promise<void> | void {
  const declared = params.bodyHash;
  if (declared === UNSIGNED_PAYLOAD) {
    if (policy.unsignedPayload === 'accept-unsigned-bodies') return;
    throw new SignatureError(
      'ERR_COMPONENT_NOT_COVERED',
      `The body is not signed: ${UNSIGNED_PAYLOAD} is not accepted here`,
    );
  }
  if (body === undefined) return compare(EMPTY_SHA256, declared);
  if (typeof body === 'string') return compare(sha256Hex(body), declared);
  if (body instanceof Uint8Array) return checkBytes(body, declared);
  if (body.stream !== undefined) return body.stream(createCheck(declared, onMismatch));
  const bytes = body.bytes(params.signedAt + lifetime(params, policy) - now);
  if (bytes instanceof Uint8Array) return checkBytes(bytes, declared);
  return bytes.then((arrived) => checkBytes(arrived, declared));
}

function checkBytes(bytes: Uint8Array, declared: string): Promise<void> | void {
  if (bytes.length === 0) return compare(EMPTY_SHA256, declared);
  if (bytes.length <= LARGEST_PIECE) return compare(sha256Hex(bytes), declared);
  return hashInPieces(bytes).then((actual) => compare(actual, declared));
}

async function hashInPieces(bytes: Uint8Array): Promise<string> {
  const digest = createSha256();
  for (let start = 0; start < bytes.length; start += LARGEST_PIECE) {
    digest.update(bytes.subarray(start, start + LARGEST_PIECE));
    await yieldToEvents();
  }
  return digest.hex();
}

function createCheck(declared: string, onMismatch: (error: SignatureError) => void): BodyCheck {
  const digest = createSha256();
  return {
    push: digest.update,
    end() {
      try {
        compare(digest.hex(), declared);
      } catch (error) {
        onMismatch(error as SignatureError);
        throw error;
      }
    },
  };
}

/** Neither hash is a secret, so they need no comparison in constant time. */
function compare(actual: string, declared: string): void {
  if (actual !== declared) {
    throw new SignatureError(
      'ERR_BODY_MISMATCH',
      `The body has the SHA-256 ${actual}, the request declares ${declared}: sign the bytes that are sent`,
    );
  }
}
