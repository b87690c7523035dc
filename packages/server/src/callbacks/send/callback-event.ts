import { createHash, randomBytes } from 'node:crypto';
import { quote } from '@countersign/shared';

/** An event that the receivers are told about. */
export type CallbackEvent = EventOfType | EventWithBody;

interface CommonEvent {
  /**
   * The `webhook-id`: 1 to 256 visible ASCII characters without `.`; random if not given. If you
   * give one, you can safely send the event again.
   */
  readonly id?: string | undefined;
}

/** The body is JSON of `type`, `timestamp` and `data`, as Standard Webhooks recommends. */
export interface EventOfType extends CommonEvent {
  /** Names joined with `.`, for example `video.parsed`. */
  readonly type: string;
  readonly data: unknown;
}

/** The body is sent unchanged. */
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
 * Turns an event into bytes, once: each attempt signs and sends the same bytes.
 *
 * @throws TypeError if a field cannot be sent; RangeError if the body is too large
 */
export function toContent(event: CallbackEvent, now: number, maxPayload: number): EventContent {
  const eventId = event.id ?? `msg_${randomBytes(18).toString('base64url')}`;
  if (!(typeof eventId === 'string' && EVENT_ID.test(eventId)))
    throw new TypeError(
      `Cannot send event with id ${quote(eventId)}: expected 1 to 256 visible ASCII characters without "."`,
    );
  const contentType = 'type' in event ? undefined : event.contentType;
  if (!(contentType === undefined || CONTENT_TYPE.test(contentType)))
    throw new TypeError(
      `Cannot send event with content type ${quote(contentType)}: expected one such as "application/json"`,
    );
  const body = 'type' in event ? toJson(event, now) : event.body;
  if (!(typeof body === 'string' || body instanceof Uint8Array))
    throw new TypeError(`Cannot send body of type ${typeof body}: expected text or bytes`);
  // A copy: the caller may change its bytes afterwards.
  const bytes = typeof body === 'string' ? Buffer.from(body, 'utf8') : Uint8Array.from(body);
  if (!(bytes.length <= maxPayload))
    throw new RangeError(
      `Cannot send ${bytes.length} bytes: ${maxPayload} are allowed. Send less, or raise maxPayload`,
    );
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
 * The id of a delivery. The same event at the same endpoint always has the same id, so no event
 * waits twice. Two different pairs never share an id.
 */
export function deliveryId(endpointId: string, eventId: string): string {
  const pair = JSON.stringify([endpointId, eventId]);
  return `dlv_${createHash('sha256').update(pair).digest('base64url').slice(0, 32)}`;
}
