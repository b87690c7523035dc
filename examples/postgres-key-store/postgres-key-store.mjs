import pg from 'pg';
import { open } from './seal.mjs';

// Prepared once on each connection, by its name. The names are those of `AccessKey`.
const FIND = {
  name: 'find-access-key',
  text: `SELECT access_key_id AS "accessKeyId", subject, scopes, audiences, status,
                not_before AS "notBefore", expires_at AS "expiresAt", sealed_secret AS sealed
         FROM access_keys WHERE access_key_id = $1`,
};

/** Access keys in PostgreSQL. Every request reads its key, so what is revoked is refused at once. */
export class PostgresKeyStore {
  #pool;
  #masterKey;

  /**
   * @param connectionString of a role that may do nothing but read this table
   * @param masterKey what secrets are sealed with: 32 bytes
   * @param timeout milliseconds for a connection, and then for an answer: a request waits
   */
  constructor({ connectionString, masterKey, timeout = 2_000 }) {
    this.#masterKey = masterKey;
    this.#pool = new pg.Pool({
      connectionString,
      connectionTimeoutMillis: timeout,
      // By the server's clock, so that it does not go on for nobody; and by ours, where the server is not heard of any more.
      statement_timeout: timeout,
      query_timeout: timeout,
    });
    // A connection broke that nobody was using. Unheard, this would end the process; the next request makes a new one.
    this.#pool.on('error', () => undefined);
  }

  /** Finds an access key. Whatever goes wrong rejects, and the request is answered 503: never "there is none". */
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
