// One of several servers that share nonces: `node:http` behind `withSignature`, with the built
// packages. Tells its parent where it listens, and ends when the parent goes. SETTINGS (JSON) has
// the rest.

import { createServer } from 'node:http';
import { Cluster, Redis } from 'ioredis';
import { createVerifier, MemoryKeyStore } from '../../packages/server/dist/index.js';
import { withSignature } from '../../packages/server/dist/node.js';
import { RedisNonceStore } from '../../packages/server/dist/redis.js';
import { NaiveNonceStore } from './naive-nonce-store.mjs';

const {
  redis,
  accessKeys,
  audience,
  window,
  ahead,
  store,
  port = 0,
} = JSON.parse(process.env.SETTINGS);

function connect() {
  if (redis.nodes !== undefined) return new Cluster(redis.nodes);
  return redis.sentinels === undefined ? new Redis(redis) : new Redis({ ...redis, name: 'nonces' });
}

/**
 * A Redis whose clock can be wrong: by as many seconds as the key `skew` says. All processes share
 * the clock of the machine, so the test sets the clock that the script reads.
 */
function withClock(connection) {
  const duplicate = connection.duplicate.bind(connection);
  const skewed = (lua) =>
    lua.replace(
      'local time = clock[1] * 1000000 + clock[2]',
      "local time = clock[1] * 1000000 + clock[2] + (redis.call('GET', 'skew') or 0) * 1000000",
    );
  connection.duplicate = (...args) => {
    const own = duplicate(...args);
    const defineCommand = own.defineCommand.bind(own);
    own.defineCommand = (name, definition) => {
      const lua = skewed(definition.lua);
      if (lua === definition.lua) throw new Error('Cannot set the clock: the script has changed');
      defineCommand(name, { ...definition, lua });
    };
    return own;
  };
  return connection;
}

const connection = connect();
connection.on('error', () => undefined);
const { kind, clockCanBeSet, ...options } = store;
const nonces =
  kind === 'naive'
    ? new NaiveNonceStore({ redis: connection, window })
    : new RedisNonceStore({
        redis: clockCanBeSet ? withClock(connection) : connection,
        ...options,
      });
const verifier = createVerifier({
  audience,
  keys: new MemoryKeyStore(accessKeys),
  nonces,
  window,
  ahead,
});
const server = createServer(withSignature((_req, res) => void res.end('{}'), verifier));
// What is expected here; a test that fails says it.
process.on('warning', ({ message }) => process.send?.({ warning: message }));
server.listen(port, '127.0.0.1', () => process.send({ port: server.address().port }));
process.once('disconnect', () => process.exit());
