/** Stores passwords safely: salted, and expensive to guess. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(scrypt);

/** One of OWASP's recommendations (Password Storage Cheat Sheet): 32 MiB for each try. */
const PARAMETERS = { cost: 2 ** 15, blockSize: 8, parallelization: 3 };

/**
 * Hashes a password. The record holds the parameters, so they can be raised later without a reset.
 */
export async function hashPassword(password) {
  const salt = randomBytes(16);
  return { ...PARAMETERS, salt, hash: await hash(password, { ...PARAMETERS, salt }) };
}

/**
 * A record that no password matches. Unknown users are checked against it, to take the same time.
 */
const unknownUser = await hashPassword(randomBytes(32).toString('base64url'));

/** Tells whether a password matches a record. Without a record it is always false. */
export async function checkPassword(password, record) {
  const { hash: expected, ...parameters } = record ?? unknownUser;
  const isEqual = timingSafeEqual(await hash(password, parameters), expected);
  return isEqual && record !== undefined;
}

function hash(password, { salt, ...parameters }) {
  // Twice the memory that is needed. The default of Node, 32 MiB, is not enough.
  const maxmem = 256 * parameters.cost * parameters.blockSize;
  // Keyboards encode "é" in different ways.
  return derive(password.normalize('NFC'), salt, 32, { ...parameters, maxmem });
}
