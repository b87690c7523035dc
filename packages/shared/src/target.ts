import { quote, SignatureError } from './errors.ts';
import { decodePercent } from './percent-encoding.ts';

/** A request target, split, but otherwise as on the request line. */
export interface Target {
  /** The path. A bare `?` at the end of the target stays here, because there is no query. */
  readonly path: string;
  /** All after the first `?`. */
  readonly query: string;
}

/** Longer targets are refused before they are read. Node itself reads at most 16 KiB of headers. */
const LONGEST_TARGET = 16_384;

/**
 * Visible ASCII without `#`, which clients never send, and `\`, which some URL parsers read as `/`.
 */
const ALLOWED = /^[!"$-[\]-~]*$/;
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;
/** Escapes of `.` and `/` that only some decoders know: overlong UTF-8, and `%u002e`. */
const HIDDEN = /%(?:u|c[01]|e0%[89]|f0%8)/i;

/**
 * Splits a request target into canonical URI and canonical query: path and query exactly as on the
 * request line, so that the signed target is the routed one. A target that routers or parsers read
 * in two ways is refused, never repaired.
 *
 * @param target origin form (RFC 9112 section 3.2.1), such as `/VideoParser/?lang=en`; an empty one
 * stands for `/`
 * @param rules `as-sent` leaves the escapes to {@link checkEscapes}
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`
 */
export function parseTarget(target: string, rules: 'strict' | 'as-sent' = 'strict'): Target {
  const flaw = findFlaw(target) ?? findEscapeFlaw(target, rules);
  if (flaw !== undefined) throw ambiguous(target, flaw);
  const mark = target.indexOf('?');
  if (mark === -1) return { path: target === '' ? '/' : target, query: '' };
  // `/a?` and `/a` are two targets. The mark stays, so an attacker cannot add it to a signed
  // request.
  if (mark === target.length - 1) return { path: target, query: '' };
  return { path: target.slice(0, mark), query: target.slice(mark + 1) };
}

/**
 * Refuses a target whose escapes readers decode in different ways, or not at all.
 *
 * @throws SignatureError `ERR_TARGET_AMBIGUOUS`
 */
export function checkEscapes(target: string): void {
  const flaw = findEscapeFlaw(target, 'strict');
  if (flaw !== undefined) throw ambiguous(target, flaw);
}

function ambiguous(target: string, flaw: string): SignatureError {
  return new SignatureError(
    'ERR_TARGET_AMBIGUOUS',
    `Cannot sign request target ${quote(target)}: ${flaw}`,
  );
}

function findFlaw(target: string): string | undefined {
  if (target === '') return undefined;
  if (target.length > LONGEST_TARGET)
    return `it has ${target.length} characters, ${LONGEST_TARGET} are allowed`;
  if (target[0] !== '/') return 'it is not in origin form: expected a path that starts with "/"';
  if (target[1] === '/') return 'it starts with "//", which URL parsers take for a host';
  if (!ALLOWED.test(target))
    return 'it holds a control, a space, "#", "\\" or a character beyond ASCII';
  const mark = target.indexOf('?');
  if (DOT_SEGMENT.test(mark === -1 ? target : target.slice(0, mark)))
    return 'its path holds a dot segment';
  return undefined;
}

function findEscapeFlaw(target: string, rules: 'strict' | 'as-sent'): string | undefined {
  if (!target.includes('%')) return undefined;
  if (target.includes('%00')) return 'it holds an encoded NUL';
  const isFlawed = rules === 'strict' ? decodePercent(target) === undefined : HIDDEN.test(target);
  return isFlawed ? 'it holds an escape that is malformed or not UTF-8' : undefined;
}
