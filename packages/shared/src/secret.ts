import { encodeUtf8 } from '#digest';

const SHORTEST = 16;
const FEWEST_DIFFERENT = 6;
/** Long enough that a random secret does not hold one by chance. */
const PLACEHOLDER =
  /changeme|replaceme|placeholder|example|password|your-?_?secret|secret-?_?(?:access-?_?)?key|0123456789|abcdefgh/i;

/**
 * Says what is wrong with a secret, without showing it.
 *
 * @returns `undefined` where it can be used: at least 16 bytes, of at least 6 different characters, no known placeholder
 */
export function findSecretFlaw(secret: unknown): string | undefined {
  if (typeof secret !== 'string')
    return `expected text, got ${secret === null ? 'null' : typeof secret}`;
  const { length } = encodeUtf8(secret);
  if (!(length >= SHORTEST)) return `it has ${length} bytes, at least ${SHORTEST} are needed`;
  if (!(new Set(secret).size >= FEWEST_DIFFERENT)) return 'it repeats a few characters';
  if (PLACEHOLDER.test(secret)) return 'it is a placeholder, not a secret';
  return undefined;
}
