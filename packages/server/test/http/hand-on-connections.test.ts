// Clients close, reset or reuse their connection. A handler runs with the whole body, or it does
// not run.

import { requireSignature, sessionEndpoint } from '@countersign/server/express';
import { withSignature } from '@countersign/server/node';
import type express from 'express';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { until } from '../../../../test/support/deadline.ts';
import { FRAMEWORKS, gate, MODES, STORES, slowDown, turns } from './hand-on-support.ts';
import { bodyOf, headOf, listen, parties, RawClient, send } from './sockets.ts';

/**
 * The part of a streamed body that arrives together with the head. Parsers skip the rest if the
 * connection is gone.
 */
const SIZES = { buffer: [1, 90_000], stream: [1] };
const LEAVING = ['closes', 'resets'] as const;
const WHEN = ['at once', 'meanwhile'] as const;

describe.each(FRAMEWORKS)('async middleware between the guard and a parser, %s', (_, framework) => {
  for (const how of LEAVING)
    for (const when of WHEN)
      for (const store of STORES)
        it.each(MODES)(
          `and a client that ${how} its connection ${when}, a store: ${store}, %s`,
          async (body) => {
            for (const size of SIZES[body]) {
              const those = parties();
              if (store === 'slow') slowDown(those);
              let client: RawClient | undefined;
              const leave = () =>
                how === 'closes' ? client?.socket.end() : client?.socket.resetAndDestroy();
              const ran: unknown[] = [];
              const app: ReturnType<typeof express> = framework();
              app.use(requireSignature(those.verifier, { body }));
              app.use(async (_req, _res, next) => {
                if (when === 'meanwhile') leave();
                await turns();
                next();
              });
              app.use(framework.json(), (req, res) => {
                ran.push(req.body?.text.length);
                res.send('handled');
              });
              app.use(((error, _req, res, _next) => {
                ran.push(error.type);
                res.status(400).end();
              }) as express.ErrorRequestHandler);
              const { server, origin, port } = await listen(app);
              const gone = gate();
              server.on('connection', (socket) => socket.once('close', gone.open));
              const signed = await those.signer.sign({
                method: 'POST',
                url: `${origin}/`,
                body: { text: 'x'.repeat(size) },
              });
              const bytes = bodyOf(signed);
              client = new RawClient(port);
              const head = headOf(signed, { 'content-length': bytes.length });
              const packet = Buffer.concat([Buffer.from(head), bytes]);
              const isSent = new Promise((resolve) => client?.socket.write(packet, resolve));
              if (when === 'at once') {
                if (how === 'resets') await isSent;
                leave();
              }
              if (how === 'closes') {
                expect(await client.answer()).toMatchObject({ status: 200, body: 'handled' });
                expect(ran).toEqual([size]);
              } else {
                await gone.opened;
                await turns(100);
                for (const it of ran) expect([size, 'request.aborted']).toContain(it);
              }
            }
          },
        );
});

describe('requests that follow each other without waiting', () => {
  it.each(MODES)('are both answered if the first one waits for its store: %s', async (body) => {
    const { verifier, keys, nonces, signer } = parties();
    const find = keys.find.bind(keys);
    // The second one asks for its body while the connection is held for the first one.
    keys.find = async (id) => {
      await turns();
      return find(id);
    };
    const claim = nonces.claim.bind(nonces);
    const first = gate();
    let claims = 0;
    nonces.claim = async (nonce) => {
      if (claims++ === 0) await first.opened;
      return claim(nonce);
    };
    const guarded = withSignature(
      async (req, res) => void res.end((await req.toArray()).join('')),
      verifier,
      { body },
    );
    let come = 0;
    const { origin, port } = await listen((req, res) => {
      come++;
      guarded(req, res);
    });
    const [a, b] = await Promise.all(
      ['aaaa', 'bbbbbbbbbb'].map(async (text) => {
        const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: text });
        return headOf(signed, { 'content-length': text.length });
      }),
    );
    const client = new RawClient(port);
    client.write(`${a}aaaa${b}bbbbb`);
    await until(() => come === 2, 'both requests arrive');
    await turns(100);
    client.write('bbbbb');
    await turns();
    // The handler of a streamed body reads from the connection, and would read its end.
    if (body === 'buffer') client.socket.end();
    await turns();
    first.open();
    expect(await client.answer()).toMatchObject({ status: 200, body: 'aaaa' });
    expect(await client.answer()).toMatchObject({ status: 200, body: 'bbbbbbbbbb' });
  });
});

describe('sessionEndpoint()', () => {
  it.each(FRAMEWORKS)(
    'answers a client that closes its side behind the request, %s',
    async (_, framework) => {
      for (const body of MODES) {
        const those = parties();
        slowDown(those);
        const lend = async () => {
          await turns();
          return { accessKeyId: 'lent' };
        };
        const endpoint = sessionEndpoint({ lend } as never, { transport: 'allow-plain-http' });
        const app = framework();
        app.post('/session', requireSignature(those.verifier, { body }), endpoint);
        const { origin, port } = await listen(app);
        const signed = await those.signer.sign({
          method: 'POST',
          url: `${origin}/session`,
          body: '{}',
        });
        const client = new RawClient(port);
        client.write(`${headOf(signed, { 'content-length': 2 })}{}`);
        client.socket.end();
        expect(await client.answer()).toMatchObject({
          status: 201,
          body: '{"accessKeyId":"lent"}',
        });
      }
    },
  );
});

describe('setImmediate() that is replaced for a while', () => {
  it('leaves no request waiting, meanwhile and after', async () => {
    const { verifier, signer } = parties();
    const { origin } = await listen(withSignature((_req, res) => void res.end(), verifier));
    const status = async () =>
      (await send(await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abc' }))).status;
    expect(await status()).toBe(200);
    vi.stubGlobal('setImmediate', () => ({}));
    onTestFinished(() => void vi.unstubAllGlobals());
    expect(await status()).toBe(200);
    vi.unstubAllGlobals();
    expect([await status(), await status()]).toEqual([200, 200]);
  });
});
