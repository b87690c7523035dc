import { seal } from './seal.mjs';

const COLUMNS = 'subject, scopes, audiences, status, not_before, expires_at, sealed_secret';

/** Stores an access key, or replaces the one with its id. Every change of a key seals it again. */
export async function writeKey(client, key, masterKey) {
  const { accessKeyId, subject, scopes, audiences, status, notBefore, expiresAt } = key;
  const metadata = [accessKeyId, subject, scopes, audiences, status, notBefore, expiresAt];
  await client.query(
    `INSERT INTO access_keys (access_key_id, ${COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (access_key_id) DO UPDATE SET (${COLUMNS}) = ($2, $3, $4, $5, $6, $7, $8)`,
    [...metadata, seal(key, masterKey)],
  );
}
