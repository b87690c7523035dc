import { createHmac } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { configure } from '@codegenie/serverless-express';
import { githubWebhooks } from '@countersign/server/callbacks';
import {
  callbackOf,
  identityOf,
  keepRawBody,
  requireCallback,
  requireSignature,
} from '@countersign/server/express';
import { withCallback, withSignature } from '@countersign/server/node';
import express from 'express';
import express4 from 'express4';
import inject from 'light-my-request';
import serverless from 'serverless-http';
import { describe, expect, it } from 'vitest';
import { bodyOf, listen, parties, send } from './sockets.ts';

const SECRET = '9Zq2vT7xLw4Rk8Nf3Bd6';
const receiver = { scheme: githubWebhooks(), secrets: [SECRET] };
const CALLBACK = '{"action":"opened"}';
const githubHeaders = {
  'content-type': 'application/json',
  'x-hub-signature-256': `sha256=${createHmac('sha256', SECRET).update(CALLBACK).digest('hex')}`,
};

/** A request as API Gateway passes it to a function. */
function gatewayEvent(path: string, headers: Record<string, string>, body: Uint8Array | string) {
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: '',
    headers: { ...headers, host: 'fn.shop.test' },
    requestContext: { http: { method: 'POST', path, sourceIp: '192.0.2.9' } },
    body: Buffer.from(body).toString('base64'),
    isBase64Encoded: true,
  };
}

describe('requests of serverless-http', () => {
  it.each([
    ['Express 5', express],
    ['Express 4', express4 as unknown as typeof express],
  ])('are verified without raw header fields, with %s', async (_, framework) => {
    const { verifier, signer } = parties();
    const app = framework();
    app.post(
      '/hook',
      requireCallback(receiver),
      (req, res) => void res.send(callbackOf(req).text()),
    );
    app.use(requireSignature(verifier), framework.json());
    app.post('/orders', (req, res) => void res.json([identityOf(req).subject, req.body]));
    const call = async (
      path: string,
      headers: Record<string, string>,
      body: Uint8Array | string,
    ) => {
      const answer = await serverless(app)(gatewayEvent(path, headers, body), {});
      const { statusCode, body: text } = answer as { statusCode: number; body: string };
      return [statusCode, text];
    };
    const order = async () =>
      signer.sign({ method: 'POST', url: 'https://fn.shop.test/orders', body: { qty: 2 } });
    const signed = await order();
    expect(await call('/orders', signed.headers, bodyOf(signed))).toEqual([
      200,
      '["alice",{"qty":2}]',
    ]);
    expect((await call('/orders', signed.headers, bodyOf(signed)))[0]).toBe(401);
    expect((await call('/orders', (await order()).headers, '{"qty":9}'))[0]).toBe(401);
    expect((await call('/orders', (await order()).headers, ''))[0]).toBe(401);
    expect(await call('/hook', githubHeaders, CALLBACK)).toEqual([200, CALLBACK]);
    expect((await call('/hook', githubHeaders, '{"action":"closed"}'))[0]).toBe(401);
  });

  it('are verified with raw fields that another middleware has filled in, numbers among them', async () => {
    const { verifier, signer } = parties();
    const app = express();
    app.use((req, _res, next) => {
      req.rawHeaders = Object.entries(req.headers).flat() as string[];
      next();
    });
    app.use(requireSignature(verifier), (_req, res) => void res.send('accepted'));
    const url = 'https://fn.shop.test/orders';
    const { headers, body } = await signer.sign({ method: 'POST', url, body: 'two' });
    // The adapter itself writes the length, as a number.
    expect(
      await serverless(app)(gatewayEvent('/orders', headers, body as Uint8Array), {}),
    ).toMatchObject({ statusCode: 200, body: 'accepted' });
  });
});

describe('requests of @codegenie/serverless-express', () => {
  /**
   * Answers like a cloud function with Express 5 behind it, which returns what its parser has
   * found.
   */
  function open(mode: 'buffer' | 'stream') {
    const { verifier, signer } = parties();
    const app = express();
    app.use(requireSignature(verifier, { body: mode }), express.json());
    app.use((req, res) => void res.json([identityOf(req).subject, req.body ?? null]));
    const handle = configure<object, { statusCode: number; body: string }>({ app });
    return async (method: string, signed?: string, sent = signed) => {
      const { headers } = await signer.sign({
        method,
        url: 'https://fn.shop.test/orders',
        headers: signed === undefined ? {} : { 'content-type': 'application/json' },
        ...(signed !== undefined && { body: signed }),
      });
      const event = gatewayEvent('/orders', headers, sent ?? '');
      event.requestContext.http.method = method;
      const answer = await handle(event, {} as never, () => undefined);
      return [answer?.statusCode, answer?.body];
    };
  }

  it.each(['buffer', 'stream'] as const)(
    'are accepted with their body and without one: %s',
    async (mode) => {
      const call = open(mode);
      expect(await call('GET')).toEqual([200, '["alice",null]']);
      expect(await call('POST')).toEqual([200, '["alice",null]']);
      expect(await call('POST', '{"qty":2}')).toEqual([200, '["alice",{"qty":2}]']);
    },
  );

  it.each(['buffer', 'stream'] as const)('are refused with another body: %s', async (mode) => {
    const call = open(mode);
    expect((await call('POST', '{"qty":2}', '{"qty":9}'))[0]).toBe(401);
  });

  it('are refused without the body that was signed', async () => {
    expect((await open('buffer')('POST', '{"qty":2}', ''))[0]).toBe(401);
  });
});

describe('requests of light-my-request', () => {
  const payloads: [string, Buffer | string][] = [
    ['bytes', Buffer.from(CALLBACK)],
    ['text', CALLBACK],
  ];

  it.each(payloads)('are callbacks whose body is %s', async (_, payload) => {
    const listener = withCallback((req, res) => void res.end(callbackOf(req).text()), receiver);
    const call = async (sent: Buffer | string) => {
      const answer = await inject(listener as never, {
        method: 'POST',
        url: '/',
        headers: githubHeaders,
        payload: sent,
      });
      return [answer.statusCode, answer.payload];
    };
    expect(await call(payload)).toEqual([200, CALLBACK]);
    expect((await call('{"action":"closed"}'))[0]).toBe(401);
  });

  it.each(payloads)('are signed requests whose body is %s', async (_, payload) => {
    for (const body of ['buffer', 'stream'] as const) {
      const { verifier, signer } = parties();
      const listener = withSignature(
        async (req, res) => {
          let text = '';
          for await (const chunk of req) text += String(chunk);
          res.end(text);
        },
        verifier,
        { body },
      );
      const url = 'http://localhost/';
      const call = async (sent: Buffer | string) => {
        const { headers } = await signer.sign({ method: 'POST', url, body: CALLBACK });
        const answer = await inject(listener as never, {
          method: 'POST',
          url,
          headers: { ...headers, host: 'localhost' },
          payload: sent,
        });
        return [answer.statusCode, answer.payload];
      };
      expect(await call(payload)).toEqual([200, CALLBACK]);
      expect((await call('{"action":"closed"}'))[0]).toBe(401);
    }
  });
});

describe('a body that a platform has parsed', () => {
  /** Acts like a cloud function before it calls the application. */
  function platform(keep: (req: IncomingMessage, res: ServerResponse, bytes: Buffer) => void) {
    const app = express();
    app.use(express.json({ verify: keep }));
    return app;
  }
  const asRawBody = (what: (bytes: Buffer) => unknown) =>
    platform((req, _res, bytes) => void Object.assign(req, { rawBody: what(bytes) }));

  it('is verified by the bytes that the platform left in req.rawBody', async () => {
    for (const app of [asRawBody((bytes) => bytes), asRawBody((bytes) => new Uint8Array(bytes))]) {
      const { verifier, signer } = parties();
      app.post(
        '/hook',
        requireCallback(receiver),
        (req, res) => void res.send(callbackOf(req).text()),
      );
      app.use(requireSignature(verifier), (req, res) => void res.json(req.body));
      const { origin } = await listen(app);
      const post = { method: 'POST', headers: githubHeaders };
      const response = await fetch(`${origin}/hook`, { ...post, body: CALLBACK });
      expect([response.status, await response.text()]).toEqual([200, CALLBACK]);
      expect((await fetch(`${origin}/hook`, { ...post, body: '{"action":"closed"}' })).status).toBe(
        401,
      );
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: { qty: 2 } });
      expect(await send(signed)).toMatchObject({ status: 200, body: '{"qty":2}' });
      const other = await signer.sign({ method: 'POST', url: `${origin}/`, body: { qty: 2 } });
      expect(await send(other, { body: Buffer.from('{"qty":9}') })).toMatchObject({ status: 401 });
    }
  });

  it('is refused with advice if the platform left text, or nothing', async () => {
    const nothing = platform(() => undefined);
    for (const app of [asRawBody((bytes) => bytes.toString()), nothing]) {
      const { verifier, signer, refused } = parties();
      app.use(requireSignature(verifier), (_req, res) => void res.send('accepted'));
      const { origin } = await listen(app);
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: { qty: 2 } });
      expect((await send(signed)).status).toBe(500);
      expect(refused[0]?.message).toMatch(
        /a parser ran first.*Mount requireSignature\(\) above.*req\.rawBody.*keepRawBody\(req, res, bytes\)/,
      );
    }
  });

  it('is verified by bytes that are handed over', async () => {
    const { verifier, signer } = parties();
    const app = platform((req, _res, bytes) => void Object.assign(req, { bytes }));
    app.use((req, res, next) => {
      keepRawBody(req, res, (req as unknown as { bytes: Buffer }).bytes);
      next();
    });
    app.use(requireSignature(verifier), (_req, res) => void res.send('accepted'));
    const { origin } = await listen(app);
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: { qty: 2 } });
    expect((await send(signed)).body).toBe('accepted');
  });

  it('does not hide bytes that are still in the request', async () => {
    const { verifier, signer } = parties();
    const app = express();
    app.use((req, _res, next) => {
      Object.assign(req, { rawBody: Buffer.from('signed') });
      next();
    });
    app.use(requireSignature(verifier), express.text(), (req, res) => void res.send(req.body));
    const { origin } = await listen(app);
    const signed = await signer.sign({
      method: 'POST',
      url: `${origin}/`,
      headers: { 'content-type': 'text/plain' },
      body: 'signed',
    });
    expect((await send(signed, { body: Buffer.from('forged') })).status).toBe(401);
  });
});
