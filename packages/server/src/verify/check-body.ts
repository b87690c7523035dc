import { createHash, type Hash, hash } from 'node:crypto';
import { setImmediate as yieldToEvents } from 'node:timers/promises';
import { type BodyClaim, SignatureError, type SignatureParams } from '@countersign/shared';
import { lifetime, type Window } from './check-window.ts';

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
  /**
   * Called after `bytes` if the body is signed in chunks. From then on the application reads these
   * bytes, without the framing, and header fields that fit them.
   *
   * @throws SignatureError `ERR_BODY_CONSUMED` if something has read the body as it came
   */
  readonly replace?: ((bytes: Uint8Array, changes: FieldChanges) => void) | undefined;
  /**
   * The most bytes that are held of a body whose chunks are verified on their way. 1,048,576 if not
   * given.
   */
  readonly limit?: number | undefined;
}

/** Header fields that the application must see in another way. `undefined` removes one. */
export type FieldChanges = Readonly<Record<string, string | undefined>>;

/** Checks a body while it passes through. */
export interface BodyCheck {
  /**
   * If present, the application gets other bytes than came over the wire: these changes and the
   * length have to be shown to it, too.
   */
  readonly changes?: FieldChanges | undefined;
  /**
   * @returns the bytes to hand on in place of the given ones. If `undefined`, the given ones
   * @throws SignatureError The stream must fail at once
   */
  push(bytes: Uint8Array): readonly Uint8Array[] | undefined;
  /** @throws SignatureError `ERR_BODY_MISMATCH` */
  end(): void;
}

/** A body as it was received: bytes, text, nothing, or a way to read it. */
export type ReceivedBody = Uint8Array | string | IncomingBody | undefined;

/** What the server allows of bodies, and for how long it waits for them. */
export interface BodySettings extends Window {
  readonly unsignedPayload: 'refuse' | 'accept-unsigned-bodies';
  readonly undeclaredBody: 'refuse' | 'read-before-verifying';
}

type Digest = 'sha256' | 'sha512';

/**
 * Larger bodies are hashed in pieces of this size, in bytes, so that other requests are served in
 * between.
 */
export const LARGEST_PIECE = 1_048_576;

/**
 * Hashes a body that the signature covers without declaring its hash.
 *
 * @param now Unix seconds
 * @returns SHA-256 in lower-case hex
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED` if the server does not read bodies for
 * strangers; and what {@link IncomingBody.bytes} throws
 */
export async function hashUndeclared(
  body: ReceivedBody,
  params: SignatureParams,
  settings: BodySettings,
  now: number,
): Promise<string> {
  if (settings.undeclaredBody !== 'read-before-verifying') {
    throw new SignatureError(
      'ERR_COMPONENT_NOT_COVERED',
      'The request does not declare the hash of its body: bodies are not read here before the signature is verified',
    );
  }
  const isText = typeof body === 'string' || body === undefined;
  const bytes = isText ? Buffer.from(body ?? '') : await readBytes(body, params, settings, now);
  return bytes.length <= LARGEST_PIECE ? hash('sha256', bytes) : hashInPieces('sha256', bytes);
}

/** Reads a body for as long as its request is valid. */
export function readBytes(
  body: Uint8Array | IncomingBody,
  params: SignatureParams,
  settings: BodySettings,
  now: number,
): Promise<Uint8Array> | Uint8Array {
  if (body instanceof Uint8Array) return body;
  return body.bytes(params.signedAt + lifetime(params, settings) - now);
}

/**
 * Compares the hash of the body with the declared hash.
 *
 * @param body what was received; text is taken as UTF-8, nothing as an empty body
 * @param claim what the signature says of the body
 * @param now Unix seconds
 * @param onMismatch called if a streamed body is not the signed one
 * @throws SignatureError what {@link IncomingBody.bytes} throws; `ERR_BODY_MISMATCH` if the hashes
 * differ; `ERR_COMPONENT_NOT_COVERED` if the body is not signed and the server does not accept that
 */
export function checkBody(
  body: ReceivedBody,
  claim: Exclude<BodyClaim, 'chunks'>,
  params: SignatureParams,
  settings: BodySettings,
  now: number,
  onMismatch: (error: SignatureError) => void,
): Promise<void> | void {
  if (claim === 'unsigned') {
    if (settings.unsignedPayload === 'accept-unsigned-bodies') return;
    throw new SignatureError(
      'ERR_COMPONENT_NOT_COVERED',
      'The body is not signed: UNSIGNED-PAYLOAD is not accepted here',
    );
  }
  const name: Digest = 'sha256' in claim ? 'sha256' : 'sha512';
  const declared = 'sha256' in claim ? claim.sha256 : claim.sha512;
  if (body === undefined || typeof body === 'string')
    return compare(name, hash(name, body ?? ''), declared);
  if (!(body instanceof Uint8Array) && body.stream !== undefined)
    return body.stream(createCheck(name, declared, onMismatch));
  const bytes = readBytes(body, params, settings, now);
  if (bytes instanceof Uint8Array) return checkBytes(name, bytes, declared);
  return bytes.then((arrived) => checkBytes(name, arrived, declared));
}

function checkBytes(name: Digest, bytes: Uint8Array, declared: string): Promise<void> | void {
  if (bytes.length <= LARGEST_PIECE) return compare(name, hash(name, bytes), declared);
  return hashInPieces(name, bytes).then((actual) => compare(name, actual, declared));
}

async function hashInPieces(name: Digest, bytes: Uint8Array): Promise<string> {
  const digest = createHash(name);
  for (let start = 0; start < bytes.length; start += LARGEST_PIECE) {
    digest.update(bytes.subarray(start, start + LARGEST_PIECE));
    await yieldToEvents();
  }
  return digest.digest('hex');
}

function createCheck(
  name: Digest,
  declared: string,
  onMismatch: (error: SignatureError) => void,
): BodyCheck {
  const digest: Hash = createHash(name);
  return {
    push(bytes) {
      digest.update(bytes);
      return undefined;
    },
    end() {
      try {
        compare(name, digest.digest('hex'), declared);
      } catch (error) {
        onMismatch(error as SignatureError);
        throw error;
      }
    },
  };
}

/** Neither hash is a secret, so they need no comparison in constant time. */
function compare(name: Digest, actual: string, declared: string): void {
  if (actual !== declared) {
    const shown = name === 'sha256' ? 'SHA-256' : 'SHA-512';
    throw new SignatureError(
      'ERR_BODY_MISMATCH',
      `The body has the ${shown} ${actual}, the request declares ${declared}: sign the bytes that are sent`,
    );
  }
}
