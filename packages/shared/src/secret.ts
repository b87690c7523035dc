import { encodeUtf8 } from '#digest';
import { kindOf } from './errors.ts';

const SHORTEST = 16;
const FEWEST_DIFFERENT = 6;
/** Each is so long that a random secret does not hold it by chance. */
const PLACEHOLDER =
  /changeme|replaceme|placeholder|example|password|your-?_?secret|secret-?_?(?:access-?_?)?key|0123456789|abcdefgh/i;
/** Blanks, without the byte order mark, which has its own message below. */
const BLANK_AROUND = /^[^\S\ufeff]|[^\S\ufeff]$/;
const QUOTES_AROUND = /^(?:".*"|'.*'|`.*`|“.*”|‘.*’)$/s;
/** Control characters, and characters without width. They come with pasted text. */
const INVISIBLE = /[\p{Cc}\u200b\u2060\ufeff]/u;

/**
 * Says what files, shells and editors have added to a secret, an id or a token, without showing it.
 * Such a character would make each signature wrong, and no error would say why.
 *
 * @returns `undefined` if nothing was added. Quotes and blanks in the middle may belong to a secret
 */
export function findTextFlaw(text: string): string | undefined {
  if (BLANK_AROUND.test(text) || QUOTES_AROUND.test(text))
    return 'it begins or ends with a blank, a line break or a quote';
  if (INVISIBLE.test(text))
    return 'it holds a control character or one that cannot be seen, such as a byte order mark';
  return undefined;
}

/**
 * Says what is wrong with a secret, without showing it.
 *
 * @returns `undefined` if it can be used: at least 16 bytes, at least 6 different characters, no
 * known placeholder, and nothing that {@link findTextFlaw} finds
 */
export function findSecretFlaw(secret: unknown): string | undefined {
  if (typeof secret !== 'string') return `expected text, got ${kindOf(secret)}`;
  const flaw = findTextFlaw(secret);
  if (flaw !== undefined) return flaw;
  const { length } = encodeUtf8(secret);
  if (!(length >= SHORTEST)) return `it has ${length} bytes, at least ${SHORTEST} are needed`;
  if (!(new Set(secret).size >= FEWEST_DIFFERENT)) return 'it repeats a few characters';
  if (PLACEHOLDER.test(secret)) return 'it is a placeholder, not a secret';
  return undefined;
}
