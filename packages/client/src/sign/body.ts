import { createSha256, EMPTY_SHA256, sha256Hex } from '@countersign/shared';

/** A body that can be read once only. It can be signed if the caller knows its hash. */
export type StreamBody =
  | ReadableStream<Uint8Array>
  | AsyncIterable<Uint8Array>
  | Iterator<Uint8Array>;

/**
 * A body that can be signed: its bytes are known before the first of them is sent. A plain object
 * or array is sent as JSON. A stream needs its SHA-256 in the header
 * `X-Countersign-Content-Sha256`.
 */
export type SignableBody =
  | string
  | Uint8Array
  | ArrayBuffer
  | ArrayBufferView
  | URLSearchParams
  | FormData
  | Blob
  | StreamBody
  | { readonly [name: string]: unknown }
  | readonly unknown[]
  | null
  | undefined;

/** A body as it will be sent. */
export interface PreparedBody {
  readonly body: Uint8Array | Blob | StreamBody | undefined;
  /** The `Content-Type` that `fetch` would send, if the caller gives none. */
  readonly contentType?: string | undefined;
  /** SHA-256 in lower-case hex. */
  readonly bodyHash: string;
}

const encoder = new TextEncoder();

/**
 * Turns a body into bytes and their hash, so that the hashed bytes are the bytes that are sent.
 *
 * @param declaredHash the hash, if the caller knows it: only then can a stream be signed
 * @throws TypeError if the body cannot be signed; the message says what to do
 */
export async function prepareBody(
  body: unknown,
  declaredHash: string | undefined,
): Promise<PreparedBody> {
  if (isStream(body)) {
    if (declaredHash !== undefined) return { body, bodyHash: declaredHash };
    throw new TypeError(
      'Cannot sign a one-shot stream: its hash must be known before its first byte is sent. Pass bytes, a Blob ' +
        '(fs.openAsBlob() for a file), or the SHA-256 of the stream in the header X-Countersign-Content-Sha256. ' +
        'A fetch() with a dispatcher makes a stream of every body: use createFetch() in its place',
    );
  }
  const { bytes, contentType } = isFormData(body) ? await encodeForm(body) : encode(body);
  if (bytes === undefined)
    return { body: bytes, contentType, bodyHash: declaredHash ?? EMPTY_SHA256 };
  return {
    body: bytes,
    contentType,
    bodyHash: declaredHash ?? (bytes instanceof Blob ? await hashBlob(bytes) : sha256Hex(bytes)),
  };
}

/** Whether a body can be read once only. */
export function isStream(body: unknown): body is StreamBody {
  if (typeof body !== 'object' || body === null) return false;
  const { next, getReader, pipe } = body as Record<string, unknown>;
  return (
    Symbol.asyncIterator in body ||
    [next, getReader, pipe].some((method) => typeof method === 'function')
  );
}

/** Whether a body is sent as JSON. An instance of a class is not: its JSON form is not known. */
export function isPlain(body: unknown): body is object {
  if (typeof body !== 'object' || body === null || isStream(body)) return false;
  const prototype: unknown = Object.getPrototypeOf(body);
  // An object of another realm (a frame, a `node:vm` context) has another `Object.prototype`.
  return Array.isArray(body) || prototype === null || Object.getPrototypeOf(prototype) === null;
}

interface Encoded {
  readonly bytes: Uint8Array | Blob | undefined;
  readonly contentType?: string | undefined;
}

function encode(body: unknown): Encoded {
  if (body === undefined || body === null) return { bytes: undefined };
  if (typeof body === 'string')
    return { bytes: encoder.encode(body), contentType: 'text/plain;charset=UTF-8' };
  if (body instanceof Uint8Array) return { bytes: body };
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body) };
  if (ArrayBuffer.isView(body))
    return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength) };
  if (body instanceof URLSearchParams) {
    return {
      bytes: encoder.encode(body.toString()),
      contentType: 'application/x-www-form-urlencoded;charset=UTF-8',
    };
  }
  if (body instanceof Blob) return { bytes: body, contentType: body.type || undefined };
  if (isPlain(body))
    return { bytes: encoder.encode(writeJson(body)), contentType: 'application/json' };
  const kind =
    typeof body === 'object' ? `an instance of ${body.constructor.name}` : `a ${typeof body}`;
  throw new TypeError(
    `Cannot sign ${kind} as a body: expected text, bytes, a Blob, URLSearchParams, FormData, a plain object or an array`,
  );
}

function writeJson(body: object): string {
  try {
    const json: unknown = JSON.stringify(body);
    if (typeof json === 'string') return json;
  } catch (cause) {
    throw new TypeError('Cannot sign this object as a body: it cannot be written as JSON', {
      cause,
    });
  }
  throw new TypeError('Cannot sign this object as a body: its toJSON() gives nothing');
}

/** undici has a `FormData` of its own. That of the `form-data` package is a stream instead. */
function isFormData(body: unknown): body is FormData {
  return Object.prototype.toString.call(body) === '[object FormData]';
}

/** Writes a form once: each time it is written it gets another boundary, which is signed too. */
async function encodeForm(form: FormData): Promise<Encoded> {
  // A `Response` would send the form of another library as "[object FormData]".
  const own = new FormData();
  for (const [name, value] of form) own.append(name, value);
  const response = new Response(own);
  return {
    bytes: new Uint8Array(await response.arrayBuffer()),
    contentType: response.headers.get('content-type') as string,
  };
}

async function hashBlob(blob: Blob): Promise<string> {
  const digest = createSha256();
  const reader = blob.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return digest.hex();
    digest.update(value);
  }
}
