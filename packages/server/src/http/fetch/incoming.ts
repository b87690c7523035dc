import { type ConnectionHold, type HeldRequest, whenParsed } from '../connection-hold.ts';

/** The part of a request of `node:http` that is used here. */
export interface Incoming extends HeldRequest {
  /** The request target as it stands on the request line. */
  readonly url: string;
}

/** Of requests that were verified and made again, with a body to read. */
const incomings = new WeakMap<Request, Incoming>();

/** Notes that a request was made of another one. */
export function keepIncoming(made: Request, incoming: Incoming | undefined): void {
  if (incoming !== undefined) incomings.set(made, incoming);
}

/**
 * The request of `node:http` below one of @hono/node-server. It passes it beside the request; an application may not hand that on, and
 * then it is found in the request itself. A request that an application has made is none of a server's, whatever is passed beside it: the target
 * must be what the `url` was made of.
 *
 * @param bindings what the server passes beside
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
  if (typeof url !== 'string' || !URL.canParse(url, received.url)) return undefined;
  const isOf = targetOf(new URL(url, received.url)) === targetOf(new URL(received.url));
  return isOf ? (found as Incoming) : undefined;
}

/** Cut out rather than put together: `/a` and `/a?` have one `search`. */
export function targetOf({ href, origin }: URL): string {
  return href.slice(origin.length);
}

/** Verifies while nothing further is read from the connection, if there is one that is known. */
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
