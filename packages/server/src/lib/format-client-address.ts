import { quote } from '@countersign/shared';

/** Characters: more than an address with its zone and its port has. */
const LONGEST = 96;

/** The characters of every address. */
const PLAIN = /^[\x21-\x7e]{1,96}$/;

/**
 * The network address of a caller, as a log can show it. An application may take it from a header,
 * so anything but plain text is quoted, and cut off.
 *
 * @param address what the application or its framework says
 */
export function formatClientAddress(address: unknown): string | undefined {
  if (typeof address !== 'string' || address === '') return undefined;
  return PLAIN.test(address) ? address : quote(address, LONGEST);
}
