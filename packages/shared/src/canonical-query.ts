import { quote, SignatureError } from './errors.ts';
import { decodePercent } from './percent-encoding.ts';

const OURS = /(?:^|&)x-countersign-/i;

/**
 * Whether a query holds one of our parameters, in any case. Then it must hold all, exactly as we
 * write them.
 */
export function isPresigned(query: string): boolean {
  return OURS.test(query);
}

/**
 * Reads the parameters of a presigned URL: these names, in this order, at the end of the query,
 * each once.
 *
 * There is only one form. Otherwise an attacker could add a second `X-Countersign-Expires` that
 * another reader sees.
 *
 * @returns the decoded values, in the order of `names`
 * @throws SignatureError `ERR_SIGNATURE_MALFORMED`, or `ERR_SIGNATURE_AMBIGUOUS` if one of our
 * parameters is also elsewhere in the query
 */
export function readPresigned(query: string, names: readonly string[]): string[] {
  const start = `&${query}`.indexOf(`&${names[0]}=`);
  const pairs = start === -1 ? [] : query.slice(start).split('&', names.length + 1);
  const values: string[] = [];
  for (const [index, name] of names.entries()) {
    const pair = pairs[index];
    const value = pair?.startsWith(`${name}=`)
      ? decodePercent(pair.slice(name.length + 1))
      : undefined;
    if (value === undefined) {
      throw new SignatureError(
        'ERR_SIGNATURE_MALFORMED',
        `Cannot read presigned URL: ${quote(name)} is missing or not in its place`,
      );
    }
    values.push(value);
  }
  if (pairs.length !== names.length || OURS.test(query.slice(0, start))) {
    throw new SignatureError(
      'ERR_SIGNATURE_AMBIGUOUS',
      'Cannot read presigned URL: its parameters must be the last of the query, each once',
    );
  }
  return values;
}

/** Appends an encoded parameter to a query. */
export function appendParameter(query: string, pair: string): string {
  return query === '' ? pair : `${query}&${pair}`;
}
