/**
 * Runs an API whose keys are in PostgreSQL. `schema.sql` makes the table, `keys.mjs` the keys.
 *
 *     DATABASE_URL=postgres://… COUNTERSIGN_MASTER_KEY=… PORT=8080 node server.mjs
 */
import { MemoryNonceStore } from '@countersign/server';
import { identityOf, requireSignature } from '@countersign/server/express';
import express from 'express';
import { PostgresKeyStore } from './postgres-key-store.mjs';
import { parseMasterKey } from './seal.mjs';

const { COUNTERSIGN_MASTER_KEY, DATABASE_URL: connectionString, PORT = 0 } = process.env;
const store = new PostgresKeyStore({
  connectionString,
  masterKey: parseMasterKey(COUNTERSIGN_MASTER_KEY),
});
const keys = {
  find: (accessKeyId) =>
    store.find(accessKeyId).catch((error) => {
      // Clients learn only that the store failed. The log has the cause: perhaps a row was changed.
      console.error(error.message);
      throw error;
    }),
};

const app = express();
app.disable('x-powered-by');
app.use(requireSignature({ audience: 'video-api', keys, nonces: new MemoryNonceStore() }));
app.get('/whoami', (req, res) => {
  const { subject, scopes } = identityOf(req);
  res.json({ subject, scopes });
});

const server = app.listen(Number(PORT), '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }));
});
