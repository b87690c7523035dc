import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Reads a master key, `<name>:<32 bytes in base64url>`, as `generateMasterKey()` makes it. */
export function parseMasterKey(text = '') {
  const bytes = Buffer.from(text.slice(text.indexOf(':') + 1), 'base64url');
  if (bytes.length === 32) return bytes;
  throw new TypeError(
    'Cannot read COUNTERSIGN_MASTER_KEY: expected <name>:<32 bytes in base64url>, as generateMasterKey() makes it',
  );
}

/** Encrypts the secret of an access key, so that only the same id and metadata can decrypt it. */
export function seal({ secretAccessKey, ...metadata }, masterKey) {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, masterKey, nonce).setAAD(associatedData(metadata));
  const encrypted = [cipher.update(secretAccessKey, 'utf8'), cipher.final()];
  return Buffer.concat([nonce, ...encrypted, cipher.getAuthTag()]);
}

/** Decrypts a secret that `seal()` encrypted. Throws if anything in the row was changed since. */
export function open(sealed, metadata, masterKey) {
  try {
    const nonce = sealed.subarray(0, NONCE_BYTES);
    const decipher = createDecipheriv(CIPHER, masterKey, nonce, { authTagLength: TAG_BYTES })
      .setAAD(associatedData(metadata))
      .setAuthTag(sealed.subarray(-TAG_BYTES));
    const encrypted = sealed.subarray(NONCE_BYTES, -TAG_BYTES);
    return Buffer.concat([decipher.update(encrypted), decipher.final()]).toString();
  } catch (cause) {
    throw new Error(
      `Cannot open access key "${metadata.accessKeyId}": its row was changed, or sealed with another master key`,
      { cause },
    );
  }
}

/** JSON keeps the fields apart. A field that is not given is `null`, as in the database. */
function associatedData({ accessKeyId, subject, scopes, audiences, status, notBefore, expiresAt }) {
  const metadata = [accessKeyId, subject, scopes, audiences, status, notBefore, expiresAt];
  return Buffer.from(JSON.stringify(metadata));
}
