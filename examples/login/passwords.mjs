/** Passwords, as a server may keep them: salted, and dear to try. */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(scrypt);

/** One of OWASP's recommendations (Password Storage Cheat Sheet): 32 MiB for each try. */
const PARAMETERS = { cost: 2 ** 15, blockSize: 8, parallelization: 3 };

/** Hashes a password. What it was hashed with stands in the record, so that it can be raised without locking anybody out. */
export async function hashPassword(password) {
  const salt = randomBytes(16);
  return { ...PARAMETERS, salt, hash: await hash(password, { ...PARAMETERS, salt }) };
}

/** Of nobody's password: what an unknown user is checked against, so that they take as long as others. */
const unknownUser = await hashPassword(randomBytes(32).toString('base64url'));

/** Tells whether a password is the one that was hashed; never, where there is no record. */
export async function checkPassword(password, record) {
  const { hash: expected, ...parameters } = record ?? unknownUser;
  const isEqual = timingSafeEqual(await hash(password, parameters), expected);
  return isEqual && record !== undefined;
}

function hash(password, { salt, ...parameters }) {
  // Twice what it takes; by default Node allows for 32 MiB, less than that.
  const maxmem = 256 * parameters.cost * parameters.blockSize;
  // Keyboards differ in how they write an "é".
  return derive(password.normalize('NFC'), salt, 32, { ...parameters, maxmem });
}
