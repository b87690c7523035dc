import { createServer } from 'node:http';
import { requireSignature } from '@countersign/server/express';
import { continueWhenVerified, identityOf, verifyUpgrade } from '@countersign/server/node';
import express from 'express';
import express4 from 'express4';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { headOf, listen, parties, RawClient } from '../../packages/server/test/http/sockets.ts';

const UPGRADE = { connection: 'upgrade', upgrade: 'websocket' };

describe('no request gets around the guard', () => {
  it('X16: an upgrade request, which no middleware sees, is verified before its listener runs', async () => {
    const those = parties();
    const app = express();
    app.use(requireSignature(those.verifier));
    const server = createServer(app);
    const sockets = new WebSocketServer({ noServer: true });
    onTestFinished(() => {
      for (const socket of sockets.clients) socket.terminate();
    });
    const subjects: string[] = [];
    sockets.on('connection', (socket, req) => {
      subjects.push(identityOf(req).subject);
      socket.send('in');
    });
    server.on(
      'upgrade',
      verifyUpgrade((req, socket, head) => {
        sockets.handleUpgrade(req, socket, head, (it) => sockets.emit('connection', it, req));
      }, those.verifier),
    );
    const { origin, port } = await listen(server);
    const signed = await those.signer.sign({ method: 'GET', url: `${origin}/ws` });
    const altered = { ...signed, url: `${origin}/ws?admin=1` };
    const bare = { ...signed, headers: {} };
    const key = { 'sec-websocket-version': 13, 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==' };
    const reasons: string[] = [];
    for (const attempt of [bare, altered]) {
      const client = new RawClient(port);
      client.write(headOf(attempt, { ...UPGRADE, ...key }));
      const { status, body } = await client.answer();
      reasons.push(`${status} ${JSON.parse(body).reason}`);
      await client.closed;
    }
    expect(reasons).toEqual(['401 signature-missing', '401 signature-invalid']);
    expect(subjects).toEqual([]);

    const socket = new WebSocket(signed.url.replace('http', 'ws'), { headers: signed.headers });
    await new Promise((resolve) => socket.on('message', resolve));
    expect(subjects).toEqual(['alice']);

    const again = new RawClient(port);
    again.write(headOf(signed, { ...UPGRADE, ...key }));
    expect(JSON.parse((await again.answer()).body).reason).toBe('nonce-reused');
    expect(subjects).toEqual(['alice']);
  });

  it('X16: a body is invited by 100 Continue only if everything else is verified', async () => {
    for (const framework of [express, express4 as unknown as typeof express]) {
      const { verifier, signer } = parties();
      const app = framework();
      app.use(requireSignature(verifier), framework.json());
      app.post('/', (req, res) => void res.json(req.body));
      const server = createServer(app);
      server.on('checkContinue', continueWhenVerified(app));
      const { origin, port } = await listen(server);
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: { a: 1 } });
      const waiting = { expect: '100-continue', 'content-length': 7 };

      const unsigned = new RawClient(port);
      unsigned.write(headOf({ ...signed, headers: {} }, waiting));
      expect((await unsigned.answer()).status).toBe(401);
      // What comes now is neither a body nor a request.
      unsigned.write(headOf(signed, waiting));
      await unsigned.closed;
      expect(unsigned.received).toBe('');

      const client = new RawClient(port);
      client.write(headOf(signed, waiting));
      expect((await client.answer()).status).toBe(100);
      client.write('{"a":1}');
      expect(await client.answer()).toMatchObject({ status: 200, body: '{"a":1}' });
    }
  });
});
