import { setImmediate as yieldToEvents } from 'node:timers/promises';
import {
  type BodyJudge,
  quote,
  type SignableRequest,
  SignatureError,
  type VerifyKey,
} from '@countersign/shared';
import { type BodySettings, LARGEST_PIECE, type ReceivedBody, readBytes } from './check-body.ts';
import { ChunkCheck, toRefusal } from './chunk-check.ts';
import type { SchemedSignature } from './read-signature.ts';

/** If an adapter does not say how much it may hold of a body. */
const DEFAULT_LIMIT = 1_048_576;

/** A request whose signature was verified, and the key that verified it. */
export interface VerifiedHead {
  readonly request: SignableRequest;
  readonly signed: SchemedSignature;
  readonly verifyKey: VerifyKey;
}

/**
 * Verifies a body that is signed in chunks. The application gets what the scheme's judge released
 * in place of what came over the wire.
 *
 * @param now Unix seconds
 * @param onMismatch called if a streamed body is not the signed one
 * @throws SignatureError `ERR_COMPONENT_NOT_COVERED` if the scheme cannot verify such a body;
 * `ERR_BODY_MISMATCH`; and what {@link IncomingBody.bytes} throws
 * @throws TypeError if the body is no stream, and no adapter that can replace it
 */
export function checkChunks(
  body: ReceivedBody,
  head: VerifiedHead,
  settings: BodySettings,
  now: number,
  onMismatch: (error: SignatureError) => void,
): Promise<void> | void {
  const judge = openJudge(head);
  // An adapter that cannot replace bytes would hand the framing on.
  if (isIncoming(body) && body.stream !== undefined && body.replace !== undefined)
    return body.stream(new ChunkCheck(judge, body.limit ?? DEFAULT_LIMIT, onMismatch));
  return replaceBytes(body, judge, head, settings, now);
}

function openJudge({ request, signed, verifyKey }: VerifiedHead): BodyJudge {
  const { scheme, params, signature } = signed;
  let judge: BodyJudge | undefined;
  try {
    judge = scheme.openBody?.(request, params, signature, verifyKey);
  } catch (error) {
    throw toRefusal(error);
  }
  if (typeof judge?.push === 'function' && typeof judge.end === 'function') return judge;
  throw new SignatureError(
    'ERR_COMPONENT_NOT_COVERED',
    `The body is signed in chunks, which the scheme ${quote(scheme.name)} cannot verify here: sign its hash`,
  );
}

/** The adapter holds all bytes anyway, so the judge may hold all of them, too. */
async function replaceBytes(
  body: ReceivedBody,
  judge: BodyJudge,
  { signed }: VerifiedHead,
  settings: BodySettings,
  now: number,
): Promise<void> {
  const isText = typeof body === 'string' || body === undefined;
  const wire = isText
    ? Buffer.from(body ?? '')
    : await readBytes(body, signed.params, settings, now);
  const incoming = isIncoming(body) ? body : undefined;
  // Bytes with the framing among them are not what was signed, and no caller should parse them.
  if (wire.length > 0 && incoming?.replace === undefined) {
    throw new TypeError(
      'Cannot verify a body in chunks: give "body" as { bytes, replace }, and use what replace() gets',
    );
  }
  const check = new ChunkCheck(judge, wire.length, () => undefined);
  // In one piece of memory: pieces of one byte would take about 400 times their length.
  const released = Buffer.alloc(wire.length);
  let length = 0;
  for (let start = 0; start < wire.length; start += LARGEST_PIECE) {
    if (start > 0) await yieldToEvents();
    for (const piece of check.push(wire.subarray(start, start + LARGEST_PIECE))) {
      released.set(piece, length);
      length += piece.length;
    }
  }
  check.end();
  incoming?.replace?.(released.subarray(0, length), check.changes);
}

function isIncoming(body: ReceivedBody): body is Extract<ReceivedBody, { bytes: unknown }> {
  return typeof body === 'object' && !(body instanceof Uint8Array);
}
