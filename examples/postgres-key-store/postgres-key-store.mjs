import pg from 'pg';
import { open } from './seal.mjs';

// Prepared once on each connection, because it has a name. The columns are named as in `AccessKey`.
const FIND = {
  name: 'find-access-key',
  text: `SELECT access_key_id AS "accessKeyId", subject, scopes, audiences, status,
                not_before AS "notBefore", expires_at AS "expiresAt", sealed_secret AS sealed
         FROM access_keys WHERE access_key_id = $1`,
};

/**
 * Access keys in PostgreSQL. Every request reads its key, so a revoked key is refused immediately.
 */
export class PostgresKeyStore {
  #pool;
  #masterKey;

  /**
   * @param connectionString connects with a role that may only read this table
   * @param masterKey the 32 bytes that secrets are sealed with
   * @param timeout milliseconds for a connection, and then for an answer: the request waits
   */
  constructor({ connectionString, masterKey, timeout = 2_000 }) {
    this.#masterKey = masterKey;
    this.#pool = new pg.Pool({
      connectionString,
      connectionTimeoutMillis: timeout,
      // The first limit makes PostgreSQL stop the query. The second holds if PostgreSQL does not
      // answer.
      statement_timeout: timeout,
      query_timeout: timeout,
    });
    // An idle connection broke. Without this listener the process would end; the next request opens
    // a new connection.
    this.#pool.on('error', () => undefined);
  }

  /**
   * Finds an access key. Every error rejects, and the request is answered 503, never `undefined`.
   */
  async find(accessKeyId) {
    const { rows } = await this.#pool.query({ ...FIND, values: [accessKeyId] });
    if (rows.length === 0) return undefined;
    const { sealed, ...metadata } = rows[0];
    return { ...metadata, secretAccessKey: open(sealed, metadata, this.#masterKey) };
  }

  close() {
    return this.#pool.end();
  }
}
