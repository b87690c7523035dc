import { quote } from '@countersign/shared';

/** Longer than an address, its zone and its port. */
const LONGEST = 96;

/** What every address is made of. */
const PLAIN = /^[\x21-\x7e]{1,96}$/;

/**
 * The network address of a caller, as a log can show it. An application may take it from a header, so anything but plain text is
 * quoted, and cut off.
 *
 * @param source what the application or its framework says
 */
export function clientAddress(source: unknown): string | undefined {
  if (typeof source !== 'string' || source === '') return undefined;
  return PLAIN.test(source) ? source : quote(source, LONGEST);
}
