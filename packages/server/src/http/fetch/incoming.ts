import { type ConnectionHold, whenParsed } from '../connection-hold.ts';

/** The part of a request of `node:http` that is used here. */
export interface Incoming {
  /** The request target as it stands on the request line. */
  readonly url: string;
  readonly httpVersionMajor: number;
  readonly socket: { pause(): unknown; resume(): unknown };
}

/**
 * The request of `node:http` below one of @hono/node-server. It passes it beside the request; an application may not hand that on, and
 * then it is found in the request itself.
 *
 * @param bindings what the server passes beside
 */
export function incomingOf(received: Request, bindings: unknown): Incoming | undefined {
  const key = Object.getOwnPropertySymbols(received).find(
    ({ description }) => description === 'incomingKey',
  );
  const within = key && (received as unknown as Record<symbol, unknown>)[key];
  const found = within ?? (bindings as { readonly incoming?: unknown } | undefined)?.incoming;
  return typeof (found as Partial<Incoming> | undefined)?.url === 'string'
    ? (found as Incoming)
    : undefined;
}

/** Verifies while nothing further is read from the connection, if there is one that is known. */
export async function whileHeld<T>(
  hold: ConnectionHold,
  incoming: Incoming | undefined,
  verify: () => Promise<T>,
): Promise<T> {
  if (incoming === undefined) return verify();
  await whenParsed();
  hold.begin();
  try {
    return await verify();
  } finally {
    hold.end();
  }
}
