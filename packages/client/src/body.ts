import { createSha256, EMPTY_SHA256, quote, sha256Hex } from '@countersign/shared';

/** A body that can be signed: its bytes are known before the first of them is sent. A plain object or array is sent as JSON. */
export type SignableBody =
  | string
  | Uint8Array
  | ArrayBuffer
  | ArrayBufferView
  | URLSearchParams
  | FormData
  | Blob
  | { readonly [name: string]: unknown }
  | readonly unknown[]
  | null
  | undefined;

/** A body as it will be sent. */
export interface PreparedBody {
  readonly body: Uint8Array | Blob | ReadableStream<Uint8Array> | undefined;
  /** What `Content-Type` says of it where the caller says nothing; as `fetch` would have it. */
  readonly contentType?: string | undefined;
  /** SHA-256 in lower-case hex. */
  readonly bodyHash: string;
}

const encoder = new TextEncoder();

/**
 * Turns a body into bytes and their hash, so that what is hashed is what is sent.
 *
 * @param declaredHash the hash, where the caller knows it: only then can a stream be signed
 * @throws TypeError where the body cannot be signed, saying what to do
 */
export async function prepareBody(body: unknown, declaredHash: string | undefined): Promise<PreparedBody> {
  const given = toBytes(body) ?? (await toBytesAsync(body));
  if (given !== undefined) {
    const { bytes, contentType } = given;
    const bodyHash = declaredHash ?? (bytes === undefined ? EMPTY_SHA256 : bytes instanceof Blob ? await hashBlob(bytes) : sha256Hex(bytes));
    return { body: bytes, contentType, bodyHash };
  }
  if (declaredHash !== undefined) return { body: body as ReadableStream<Uint8Array>, bodyHash: declaredHash };
  throw new TypeError(
    'Cannot sign a one-shot stream: its hash must be known before its first byte is sent. Pass bytes, a Blob ' +
      '(fs.openAsBlob() for a file), or the SHA-256 of the stream in the header X-Countersign-Content-Sha256',
  );
}

interface Bytes {
  readonly bytes: Uint8Array | Blob | undefined;
  readonly contentType?: string | undefined;
}

function toBytes(body: unknown): Bytes | undefined {
  if (body === undefined || body === null) return { bytes: undefined };
  if (typeof body === 'string') return { bytes: encoder.encode(body), contentType: 'text/plain;charset=UTF-8' };
  if (body instanceof Uint8Array) return { bytes: body };
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body) };
  if (ArrayBuffer.isView(body)) return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength) };
  if (body instanceof URLSearchParams) {
    return { bytes: encoder.encode(body.toString()), contentType: 'application/x-www-form-urlencoded;charset=UTF-8' };
  }
  if (body instanceof Blob) return { bytes: body, contentType: body.type || undefined };
  if (isPlain(body)) return { bytes: encoder.encode(toJson(body)), contentType: 'application/json' };
  return undefined;
}

/** A form's boundary is made when it is written, so it is written here, once. */
async function toBytesAsync(body: unknown): Promise<Bytes | undefined> {
  if (!isFormData(body)) return undefined;
  const response = new Response(body as FormData);
  return { bytes: new Uint8Array(await response.arrayBuffer()), contentType: response.headers.get('content-type') ?? undefined };
}

/** undici brings a `FormData` of its own. */
function isFormData(body: unknown): boolean {
  return Object.prototype.toString.call(body) === '[object FormData]';
}

function isPlain(body: unknown): body is object {
  if (Array.isArray(body)) return true;
  const prototype: unknown = typeof body === 'object' && body !== null ? Object.getPrototypeOf(body) : undefined;
  return (prototype === Object.prototype || prototype === null) && !isIterator(body as object);
}

function isIterator(body: object): boolean {
  return Symbol.asyncIterator in body || Symbol.iterator in body;
}

function toJson(body: object): string {
  try {
    return JSON.stringify(body);
  } catch (cause) {
    throw new TypeError(`Cannot sign body ${quote(body)}: it cannot be written as JSON`, { cause });
  }
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
