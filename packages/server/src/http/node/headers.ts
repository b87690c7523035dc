import type { IncomingMessage } from 'node:http';
import type { HeadersInput } from '@countersign/shared';
import type { FieldChanges } from '../../verify/check-body.ts';

/**
 * Shows the application the verified host. With `publicOrigin`, a proxy or an attacker may have
 * changed the host on the wire, and frameworks route and build links by it.
 */
export function showHost(
  { headers, httpVersionMajor }: IncomingMessage,
  host: string | undefined,
): void {
  const name = httpVersionMajor >= 2 ? ':authority' : 'host';
  if (host !== undefined && headers[name] !== host) headers[name] = host;
  if (name !== 'host' && headers.host !== undefined) headers.host = host;
}

/**
 * Shows the application header fields that fit a body without its framing. Parsers read the length
 * here, and skip a body if neither a length nor a transfer coding is announced.
 *
 * @param length if not given, it is not known yet
 */
export function showBody(
  { headers, httpVersionMajor }: IncomingMessage,
  changes: FieldChanges,
  length?: number,
): void {
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) delete headers[name];
    else headers[name] = value;
  }
  if (headers['content-length'] === undefined) return;
  if (length !== undefined) headers['content-length'] = String(length);
  else {
    delete headers['content-length'];
    if (httpVersionMajor === 1) headers['transfer-encoding'] = 'chunked';
  }
}

/**
 * The header fields as they came over the wire. Adapters for cloud functions have no raw fields:
 * the platform has joined fields of the same name, and the application sees the same joined fields.
 * Such adapters write the length as a number, which Node accepts in place of text.
 */
export function headersOf({ rawHeaders, headers }: IncomingMessage): HeadersInput {
  const raw = rawHeaders?.length > 0 ? rawHeaders : Object.entries(headers).flatMap(pairsOf);
  return raw.some(isNumber) ? raw.map(String) : raw;
}

function pairsOf([name, value]: [string, string | readonly string[] | undefined]): string[] {
  const values = typeof value === 'object' ? value : [value ?? ''];
  return values.flatMap((one) => [name, one]);
}

function isNumber(part: unknown): boolean {
  return typeof part === 'number';
}
