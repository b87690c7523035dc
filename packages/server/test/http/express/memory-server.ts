import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type AccessKey,
  createVerifier,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { requireSignature } from '@countersign/server/express';
import express from 'express';

/** A server in its own process. It reports how much memory it takes while a body arrives. */
const { key, now, audience } = JSON.parse(process.argv[2] ?? '') as {
  key: AccessKey;
  now: number;
  audience: string;
};
const clock = () => now;
const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
const verifier = createVerifier({
  audience,
  keys: new MemoryKeyStore([key], clock),
  nonces,
  clock,
});

let most = 0;
const measure = (): void => {
  most = Math.max(most, process.memoryUsage().rss);
};

const app = express();
app.use((_req, _res, next) => {
  most = 0;
  measure();
  process.send?.({ before: most });
  next();
});
app.post('/stream', requireSignature(verifier, { body: 'stream' }), async (req, res) => {
  let bytes = 0;
  for await (const chunk of req) {
    bytes += (chunk as Buffer).length;
    measure();
  }
  res.json({ bytes, most });
});
app.post('/buffer', requireSignature(verifier), (_req, res) => {
  measure();
  res.json({ most });
});
const server = createServer(app).listen(0, '127.0.0.1', () =>
  process.send?.({ port: (server.address() as AddressInfo).port }),
);
process.once('disconnect', () => process.exit());
