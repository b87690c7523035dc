/**
 * Makes keys and changes their status. Needs a role that may write. Prints the secret of a new key
 * once.
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

const USAGE = `node keys.mjs add --subject alice [--scope videos:parse]... [--expires-at SECONDS]
node keys.mjs set-status ID active|disabled|revoked

COUNTERSIGN_MASTER_KEY is what secrets are sealed with, DATABASE_URL leads to the database.
`;
const STATUSES = ['active', 'disabled', 'revoked'];

const commands = {
  async add({ client, masterKey }, { subject, scope: scopes, 'expires-at': expiresAt }) {
    if (!subject) throw new Error('Cannot make a key without a subject: give --subject');
    const key = generateAccessKey({ subject, scopes, expiresAt: parseTime(expiresAt) });
    await writeKey(client, key, masterKey);
    const { accessKeyId, secretAccessKey } = key;
    console.log(JSON.stringify({ accessKeyId, secretAccessKey }));
  },

  async 'set-status'({ client, keys, masterKey }, _, accessKeyId, status) {
    if (!STATUSES.includes(status))
      throw new Error(`Cannot set status "${status}": expected ${STATUSES.join(', ')}`);
    const key = await keys.find(accessKeyId);
    if (key === undefined) throw new Error(`Cannot find access key "${accessKeyId}"`);
    if (key.status === 'revoked') throw new Error(`Cannot change "${accessKeyId}": it is revoked`);
    // A revoked key is never used again, so its secret is deleted.
    const secretAccessKey = status === 'revoked' ? '' : key.secretAccessKey;
    await writeKey(client, { ...key, status, secretAccessKey }, masterKey);
  },
};

/** Reads a time in Unix seconds. With `NaN` the verifier could not tell if the key has expired. */
function parseTime(text) {
  if (text === undefined || /^\d{1,12}(\.\d{1,9})?$/.test(text)) return text && Number(text);
  throw new Error(`Cannot use --expires-at "${text}": expected Unix seconds`);
}

function parseCommandLine() {
  return parseArgs({
    allowPositionals: true,
    options: {
      subject: { type: 'string' },
      scope: { type: 'string', multiple: true, default: [] },
      'expires-at': { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
}

async function main() {
  const { values, positionals } = parseCommandLine();
  const [command, ...args] = positionals;
  if (values.help) return console.log(USAGE);
  if (!Object.hasOwn(commands, command ?? ''))
    throw new Error(`Cannot run "${command ?? ''}": expected "add" or "set-status"; see --help`);
  const { COUNTERSIGN_MASTER_KEY, DATABASE_URL: connectionString } = process.env;
  const masterKey = parseMasterKey(COUNTERSIGN_MASTER_KEY);
  const client = new pg.Client({ connectionString });
  const keys = new PostgresKeyStore({ connectionString, masterKey });
  try {
    await client.connect();
    await commands[command]({ client, keys, masterKey }, values, ...args);
  } finally {
    await Promise.all([client.end(), keys.close()]);
  }
}

await main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
