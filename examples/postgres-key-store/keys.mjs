/**
 * Makes keys and changes their status, with a role that may write. The secret of a new key is shown here and never again.
 *
 *     node keys.mjs add --subject alice --scope videos:parse --expires-at 1795299926
 *     node keys.mjs set-status CSAK… disabled
 */
import { parseArgs } from 'node:util';
import { generateAccessKey } from '@countersign/server';
import pg from 'pg';
import { PostgresKeyStore } from './postgres-key-store.mjs';
import { parseMasterKey } from './seal.mjs';
import { writeKey } from './write-key.mjs';

const { COUNTERSIGN_MASTER_KEY, DATABASE_URL: connectionString } = process.env;
const masterKey = parseMasterKey(COUNTERSIGN_MASTER_KEY);
const client = new pg.Client({ connectionString });
const keys = new PostgresKeyStore({ connectionString, masterKey });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    subject: { type: 'string' },
    scope: { type: 'string', multiple: true, default: [] },
    'expires-at': { type: 'string' },
  },
});

const commands = {
  async add() {
    const expiresAt = values['expires-at'] === undefined ? undefined : Number(values['expires-at']);
    const key = generateAccessKey({ subject: values.subject, scopes: values.scope, expiresAt });
    await writeKey(client, key, masterKey);
    const { accessKeyId, secretAccessKey } = key;
    console.log(JSON.stringify({ accessKeyId, secretAccessKey }));
  },

  async 'set-status'(accessKeyId, status) {
    const key = await keys.find(accessKeyId);
    if (key === undefined) throw new Error(`Cannot find access key "${accessKeyId}"`);
    if (key.status === 'revoked') throw new Error(`Cannot change "${accessKeyId}": it is revoked`);
    // A revoked key is never used again: its secret goes.
    const secretAccessKey = status === 'revoked' ? '' : key.secretAccessKey;
    await writeKey(client, { ...key, status, secretAccessKey }, masterKey);
  },
};

try {
  await client.connect();
  const [command, ...args] = positionals;
  if (!Object.hasOwn(commands, command ?? ''))
    throw new Error(`Cannot run "${command}": expected "add" or "set-status"`);
  await commands[command](...args);
} finally {
  await Promise.all([client.end(), keys.close()]);
}
