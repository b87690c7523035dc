import { createHash, randomBytes } from 'node:crypto';
import { quote } from '@countersign/shared';

/** Something that happened, and whoever registered an endpoint is told. */
export type CallbackEvent = EventOfType | EventWithBody;

interface CommonEvent {
  /**
   * The `webhook-id`: 1 to 256 visible ASCII characters without `.`; random if not given. Give one,
   * and sending it again is safe.
   */
  readonly id?: string | undefined;
}

/** Sent as the specification recommends: JSON of `type`, `timestamp` and `data`. */
export interface EventOfType extends CommonEvent {
  /** As in `video.parsed`. */
  readonly type: string;
  readonly data: unknown;
}

/** Sent as it is. */
export interface EventWithBody extends CommonEvent {
  readonly body: string | Uint8Array;
  /** `application/json` if not given. */
  readonly contentType?: string | undefined;
}

export interface EventContent {
  readonly eventId: string;
  readonly contentType: string;
  readonly body: Uint8Array;
}

const EVENT_ID = /^[!-\-/-~]{1,256}$/;
const TYPE = /^[a-zA-Z0-9_]+(?:\.[a-zA-Z0-9_]+)*$/;
const CONTENT_TYPE = /^[\x20-\x7e]{1,256}$/;

/**
 * Turns an event into bytes, once: each attempt signs and sends the same.
 *
 * @throws TypeError or RangeError for what cannot be sent
 */
export function toContent(event: CallbackEvent, now: number, maxPayload: number): EventContent {
  const eventId = event.id ?? `msg_${randomBytes(18).toString('base64url')}`;
  if (!(typeof eventId === 'string' && EVENT_ID.test(eventId)))
    throw new TypeError(
      `Cannot send event with id ${quote(eventId)}: expected 1 to 256 visible ASCII characters without "."`,
    );
  const contentType = 'type' in event ? undefined : event.contentType;
  if (!(contentType === undefined || CONTENT_TYPE.test(contentType)))
    throw new TypeError(`Cannot send event with content type ${quote(contentType)}`);
  const body = 'type' in event ? toJson(event, now) : event.body;
  if (!(typeof body === 'string' || body instanceof Uint8Array))
    throw new TypeError(`Cannot send body of type ${typeof body}: expected text or bytes`);
  // A copy: what is changed afterwards is not what was sent.
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : Uint8Array.from(body);
  if (!(bytes.length <= maxPayload))
    throw new RangeError(`Cannot send ${bytes.length} bytes: ${maxPayload} are allowed`);
  return { eventId, contentType: contentType ?? 'application/json', body: bytes };
}

function toJson({ type, data }: EventOfType, now: number): string {
  if (!(typeof type === 'string' && type.length <= 256 && TYPE.test(type)))
    throw new TypeError(
      `Cannot send event of type ${quote(type)}: expected names joined with ".", as in "video.parsed"`,
    );
  return JSON.stringify({ type, timestamp: new Date(now * 1000).toISOString(), data });
}

/**
 * The same for the same event at the same endpoint, so that no event waits twice; no two pairs
 * share one.
 */
export function deliveryId(endpointId: string, eventId: string): string {
  const pair = JSON.stringify([endpointId, eventId]);
  return `dlv_${createHash('sha256').update(pair).digest('base64url').slice(0, 32)}`;
}
