import type { Delivery, DeliveryAttempt } from '@countersign/server/callbacks';
import { quote } from '@countersign/shared';
import { formatMinute, formatTime } from '../lib/time.ts';
import { formatFields, formatTable } from '../terminal/table.ts';

export function deliveryTable(deliveries: readonly Delivery[]): string {
  const heads = ['ID', 'ENDPOINT', 'EVENT', 'STATE', 'CREATED (UTC)', 'ATTEMPTS', 'LAST', 'NEXT'];
  const rows = deliveries.map(({ id, endpointId, eventId, state, createdAt, attempts }) => {
    const last = attempts.at(-1);
    const head = [id, endpointId, eventId, state, formatMinute(createdAt)];
    return [...head, String(attempts.length), lastOf(last), nextOf(state, last)];
  });
  return formatTable([heads, ...rows]);
}

/** Formats a delivery, with each of its attempts. */
export function deliveryText(delivery: Delivery): string {
  const { id, endpointId, eventId, state, createdAt, attempts, reason } = delivery;
  const fields = formatFields({
    'Delivery ID': id,
    Endpoint: endpointId,
    'Event ID': eventId,
    State: state,
    Reason: reason,
    Created: formatTime(createdAt),
    Next: state === 'waiting' ? timeOf(attempts.at(-1)?.nextAt) : undefined,
  });
  if (attempts.length === 0) return fields;
  const rows = attempts.map((attempt) => [
    formatTime(attempt.at),
    formatSeconds(attempt.seconds),
    statusOf(attempt),
    attempt.error ?? attempt.response ?? '',
  ]);
  return `${fields}\n${formatTable([['ATTEMPT', 'DURATION', 'STATUS', 'ANSWER'], ...rows])}`;
}

/** `0.012 s`. */
export function formatSeconds(seconds: number): string {
  return `${seconds.toFixed(3)} s`;
}

/** A redirect means that the registered URL is wrong, so the list shows the right one. */
function lastOf(attempt: DeliveryAttempt | undefined): string {
  const status = statusOf(attempt);
  if (attempt?.location === undefined) return status;
  return `${status}, redirects to ${quote(attempt.location, 80)}`;
}

function statusOf(attempt: DeliveryAttempt | undefined): string {
  if (attempt === undefined) return '-';
  return attempt.status === undefined ? 'no answer' : String(attempt.status);
}

function nextOf(state: Delivery['state'], last: DeliveryAttempt | undefined): string {
  if (state !== 'waiting') return '-';
  return last?.nextAt === undefined ? 'now' : formatMinute(last.nextAt);
}

function timeOf(seconds: number | undefined): string {
  return seconds === undefined ? 'now' : formatTime(seconds);
}
