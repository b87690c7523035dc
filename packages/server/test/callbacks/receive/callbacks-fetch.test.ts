import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect as connectHttp2, createServer as createHttp2Server } from 'node:http2';
import { callbackOf, withCallback } from '@countersign/server/fetch';
import { withCallback as withNodeCallback } from '@countersign/server/node';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { listen, listenOn } from '../../http/sockets.ts';
import { NOW, newSecret, signCallback } from './callbacks-sender.ts';

const SECRET = newSecret();
const options = { secrets: [SECRET], clock: () => NOW };

function requestOf(
  body: string | Uint8Array<ArrayBuffer>,
  signed: string | Uint8Array = body,
  init: RequestInit = {},
) {
  const headers = signCallback(signed, { secrets: [SECRET] });
  return new Request('https://api.test/callbacks', { method: 'POST', headers, body, ...init });
}

describe('withCallback() for fetch', () => {
  const handler = withCallback(
    async (request, callback, note?: string) =>
      Response.json({
        id: callback.id,
        same: callbackOf(request) === callback,
        text: await request.text(),
        signed: callback.text(),
        note,
      }),
    options,
  );

  it('hands on the callback, a readable request, and the arguments of the runtime', async () => {
    const response = await handler(requestOf('{"ä":1}'), 'env');
    expect(await response.json()).toEqual({
      id: 'msg_1',
      same: true,
      text: '{"ä":1}',
      signed: '{"ä":1}',
      note: 'env',
    });
  });

  it('hands on an empty body', async () => {
    const headers = signCallback('', { secrets: [SECRET] });
    const empty = new Request('https://api.test/', { method: 'POST', headers });
    expect(await (await handler(empty)).json()).toMatchObject({ text: '', signed: '' });
  });

  it.each([
    ['a changed body', () => requestOf('{} ', '{}'), 401, 'signature-invalid'],
    [
      'another method',
      () => requestOf('{}', '{}', { method: 'PUT' }),
      401,
      'component-not-covered',
    ],
    ['no signature', () => requestOf('{}', '{}', { headers: {} }), 401, 'signature-missing'],
    [
      'fe for ff',
      () => requestOf(Uint8Array.of(0xfe), Uint8Array.of(0xff)),
      401,
      'signature-invalid',
    ],
    ['too much', () => requestOf('x'.repeat(1_048_577)), 413, 'body-too-large'],
  ])('refuses %s', async (_, make, status, reason) => {
    const response = await handler(make());
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ reason });
  });

  it('names itself if the body was read before', async () => {
    const refused: string[] = [];
    const guarded = withCallback(() => new Response(), {
      ...options,
      onRefused: ({ message }) => void refused.push(message),
    });
    const request = requestOf('{}');
    await request.text();
    expect((await guarded(request)).status).toBe(500);
    expect(refused[0]).toContain('Call withCallback() before');
  });

  it('throws errors that are not refusals, and refuses a handler that is not a function', async () => {
    const broken = { scheme: 'x', sender: 'x', verify: () => Promise.reject(new Error('broken')) };
    await expect(withCallback(() => new Response(), broken)(requestOf('{}'))).rejects.toThrow(
      'broken',
    );
    expect(() => withCallback('no' as never, options)).toThrow(
      new TypeError('Cannot build adapter: expected a handler, a function, got string'),
    );
  });

  it('runs in Hono, over a socket', async () => {
    const app = new Hono();
    app.post('/callbacks', (context) => handler(context.req.raw, 'hono'));
    const { origin } = await listen(createAdaptorServer({ fetch: app.fetch }) as Server);
    const send = (body: string) =>
      fetch(`${origin}/callbacks`, {
        method: 'POST',
        headers: signCallback('{"a":1}', { secrets: [SECRET] }),
        body,
      });
    expect(await (await send('{"a":1}')).json()).toMatchObject({ text: '{"a":1}', note: 'hono' });
    expect((await send('{"a":2}')).status).toBe(401);
  });
});

describe('withCallback() for node:http', () => {
  it('hands on the callback and a readable request', async () => {
    const { origin } = await listen(
      withNodeCallback(async (req, res, callback) => {
        let text = '';
        for await (const chunk of req) text += chunk;
        res.end(`${callback.id} ${text}`);
      }, options),
    );
    const headers = signCallback('{}', { secrets: [SECRET] });
    const send = (body: string) => fetch(origin, { method: 'POST', headers, body });
    expect(await (await send('{}')).text()).toBe('msg_1 {}');
    expect((await send('{} ')).status).toBe(401);
  });

  it('answers 500 and warns if verifying fails', async () => {
    const warned = once(process, 'warning');
    const broken = { scheme: 'x', sender: 'x', verify: () => Promise.reject(new Error('broken')) };
    const { origin } = await listen(withNodeCallback(() => undefined, broken));
    expect((await fetch(origin, { method: 'POST' })).status).toBe(500);
    expect((await warned)[0]).toMatchObject({ code: 'COUNTERSIGN_VERIFIER_FAILED' });
  });

  it('serves HTTP/2', async () => {
    const server = createHttp2Server(
      withNodeCallback((_req, res, callback) => void res.end(callback.id), options) as never,
    );
    const { origin } = await listenOn(server as never, () => undefined);
    const client = connectHttp2(origin);
    const stream = client.request({
      ':method': 'POST',
      ...signCallback('{}', { secrets: [SECRET] }),
    });
    stream.end('{}');
    let text = '';
    for await (const chunk of stream) text += chunk;
    client.destroy();
    expect(text).toBe('msg_1');
  });
});
