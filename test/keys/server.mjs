// One of several servers that share keys in Redis: `node:http` behind `withSignature`, with the
// built packages. Tells its parent where it listens, and ends when the parent goes. SETTINGS (JSON)
// has the rest.

import { createServer } from 'node:http';
import { Redis } from 'ioredis';
import { createVerifier, MemoryNonceStore } from '../../packages/server/dist/index.js';
import { withSignature } from '../../packages/server/dist/node.js';
import { RedisKeyStore } from '../../packages/server/dist/redis.js';
import { createSessions } from '../../packages/server/dist/sessions.js';

const { redis, prefix, masterKey, audience } = JSON.parse(process.env['SETTINGS'] ?? '');

const connection = new Redis(redis);
connection.on('error', () => undefined);
const keys = new RedisKeyStore({ redis: connection, prefix, masterKey, timeout: 2 });
const sessions = createSessions({ issuer: audience, masterKey, revocations: keys });
const verifier = createVerifier({
  audience,
  keys,
  sessions,
  nonces: new MemoryNonceStore({ bornAt: 0 }),
});
const server = createServer(
  withSignature((_req, res, { accessKeyId }) => {
    // When it was accepted, by the clock that all processes of a machine share.
    res.setHeader('accepted-at', performance.timeOrigin + performance.now());
    res.end(accessKeyId);
  }, verifier),
);
server.listen(0, '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  process.send?.({ port: address.port });
});
process.once('disconnect', () => process.exit());
