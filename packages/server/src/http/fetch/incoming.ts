import { toUrl } from '@countersign/shared';
import { type ConnectionHold, type HeldRequest, whenParsed } from '../connection-hold.ts';

/** The part of a request of `node:http` that is used here. */
export interface Incoming extends HeldRequest {
  /** The request target as it stands on the request line. */
  readonly url: string;
}

/**
 * The requests of `node:http` below verified requests, which were made again with a readable body.
 */
const incomings = new WeakMap<Request, Incoming>();

/** Records the request of `node:http` from which a request was made. */
export function keepIncoming(made: Request, incoming: Incoming | undefined): void {
  if (incoming !== undefined) incomings.set(made, incoming);
}

/**
 * Finds the request of `node:http` below a `Request` of @hono/node-server. The server keeps it
 * inside the `Request`, and also passes it as a second argument, which an application may not hand
 * on. An application can also make a `Request` of its own, and pass any bindings. So the target of
 * the request found must be the one from which `url` was made.
 *
 * @param bindings the second argument that the server passes
 */
export function incomingOf(received: Request, bindings: unknown): Incoming | undefined {
  const kept = incomings.get(received);
  if (kept !== undefined) return kept;
  const key = Object.getOwnPropertySymbols(received).find(
    ({ description }) => description === 'incomingKey',
  );
  const within = key && (received as unknown as Record<symbol, unknown>)[key];
  const found = within ?? (bindings as { readonly incoming?: unknown } | undefined)?.incoming;
  const { url } = (found ?? {}) as Partial<Incoming>;
  const raw = typeof url === 'string' ? toUrl(url, received.url) : undefined;
  if (raw === undefined) return undefined;
  const isOf = targetOf(raw) === targetOf(new URL(received.url));
  return isOf ? (found as Incoming) : undefined;
}

/**
 * The target in a URL. It is cut out of `href`, because `pathname` + `search` cannot tell `/a?`
 * from `/a`.
 */
export function targetOf({ href, origin }: URL): string {
  return href.slice(origin.length);
}

/** Verifies while nothing further is read from the connection, if the connection is known. */
export async function whileHeld<T>(
  hold: ConnectionHold,
  incoming: Incoming | undefined,
  verify: () => Promise<T>,
): Promise<T> {
  if (incoming === undefined) return verify();
  await whenParsed(incoming);
  hold.begin();
  try {
    return await verify();
  } finally {
    hold.end();
  }
}
