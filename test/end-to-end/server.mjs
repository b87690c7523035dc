// One of several servers that share a Redis: an Express app behind `requireSignature`, with the
// built packages. Tells its parent where it listens, and ends when the parent goes; at SIGTERM it
// closes everything, and nothing keeps it alive.  The environment says the rest: REDIS_URL or
// REDIS_CLUSTER (ports), ACCESS_KEYS (JSON), PREFIX, CLOCK_OFFSET and TIMEOUT (seconds).

import express from 'express';
import { Cluster, Redis } from 'ioredis';
import { requireSignature } from '../../packages/server/dist/express.js';
import { createVerifier, MemoryKeyStore } from '../../packages/server/dist/index.js';
import { RedisNonceStore } from '../../packages/server/dist/redis.js';

const {
  REDIS_URL,
  REDIS_CLUSTER,
  ACCESS_KEYS,
  PREFIX,
  CLOCK_OFFSET = '0',
  TIMEOUT = '0.4',
} = process.env;
const nodes = REDIS_CLUSTER?.split(',').map((port) => ({ host: '127.0.0.1', port: Number(port) }));
const redis = nodes === undefined ? new Redis(REDIS_URL) : new Cluster(nodes);
redis.on('error', () => undefined);

const nonces = new RedisNonceStore({ redis, prefix: PREFIX, timeout: Number(TIMEOUT) });
const verifier = createVerifier({
  audience: 'video-api',
  keys: new MemoryKeyStore(JSON.parse(ACCESS_KEYS)),
  nonces,
  clock: () => Date.now() / 1000 + Number(CLOCK_OFFSET),
});

const app = express();
app.use(requireSignature(verifier));
app.post('/VideoParser/', (_req, res) => void res.json({ parsed: true }));
const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));

const leave = () => process.exit();
process.once('disconnect', leave);
process.once('SIGTERM', async () => {
  server.close();
  server.closeAllConnections();
  await nonces.close();
  redis.disconnect();
  process.off('disconnect', leave);
  process.disconnect();
});
