import { MemoryNonceStore } from '@countersign/server';
import { createCallbackVerifier, createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
import { callbackOf, handleOnce, keepRawBody, requireCallback } from '@countersign/server/express';
import type express from 'express';
import type { Express, RequestHandler } from 'express';
import { describe, expect, it } from 'vitest';
import { listen, RawClient, send } from '../../http/sockets.ts';
import { NOW, newSecret, signCallback } from './callbacks-sender.ts';

const SECRET = newSecret();
const clock = () => NOW;
const options = { secrets: [SECRET], clock };
const MiB = 1_048_576;

const verifyWith = (hook?: typeof keepRawBody) => (hook === undefined ? {} : { verify: hook });

/** Everything that `requireCallback()` promises, for each version of Express. */
export function requireCallbackContract(framework: typeof express): void {
  const parsers: [string, string, string, (hook?: typeof keepRawBody) => RequestHandler][] = [
    ['express.json()', 'application/json', '{"a":"ä"}', (hook) => framework.json(verifyWith(hook))],
    [
      'express.urlencoded()',
      'application/x-www-form-urlencoded',
      'a=b%20c',
      (hook) => framework.urlencoded({ extended: true, ...verifyWith(hook) }),
    ],
    ['express.text()', 'text/plain', 'ä', (hook) => framework.text(verifyWith(hook))],
    ['express.raw()', 'application/octet-stream', 'ä', (hook) => framework.raw(verifyWith(hook))],
  ];

  /** Posts a callback to an application, which records what it received. */
  async function post(
    app: Express,
    body: string | Uint8Array<ArrayBuffer>,
    headers: Record<string, string>,
    method = 'POST',
  ) {
    app.use((req, res) => {
      const { id, sender, body: signed } = callbackOf(req);
      const parsed = Buffer.isBuffer(req.body) ? req.body.toString() : req.body;
      res.json({ id, sender, parsed, bytes: Buffer.from(signed).toString('latin1') });
    });
    const { origin } = await listen(app);
    const response = await fetch(`${origin}/callbacks`, {
      method,
      headers,
      ...(method !== 'GET' && { body }),
    });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json');
    return {
      status: response.status,
      headers: response.headers,
      body: isJson ? JSON.parse(text) : text,
    };
  }

  const signed = (body: string | Uint8Array, type = 'application/json') => ({
    ...signCallback(body, { secrets: [SECRET] }),
    'content-type': type,
  });

  describe.each(parsers)('requireCallback() with %s', (_, type, body, parser) => {
    it('mounted before it, which then parses as usual', async () => {
      const [plain, guarded] = [framework(), framework()];
      let alone: unknown;
      plain.use(parser(), (req, res) => {
        alone = req.body;
        res.end();
      });
      const { origin } = await listen(plain);
      await fetch(origin, { method: 'POST', headers: { 'content-type': type }, body });

      guarded.use(requireCallback(options), parser());
      const answer = await post(guarded, body, signed(body, type));
      expect(answer.status).toBe(200);
      expect(answer.body).toMatchObject({
        id: 'msg_1',
        parsed: Buffer.isBuffer(alone) ? alone.toString() : alone,
        bytes: Buffer.from(body).toString('latin1'),
      });
    });

    it('mounted after it, if it kept the bytes', async () => {
      const app = framework();
      app.use(parser(keepRawBody), requireCallback(options));
      const answer = await post(app, body, signed(body, type));
      expect(answer).toMatchObject({
        status: 200,
        body: { bytes: Buffer.from(body).toString('latin1') },
      });
    });

    it('mounted after it, if it kept no bytes: the message names the line to change', async () => {
      const refused: string[] = [];
      const app = framework();
      const onRefused = ({ code, message }: { code: string; message: string }) =>
        void refused.push(code, message);
      app.use(parser(), requireCallback({ ...options, onRefused }));
      expect((await post(app, body, signed(body, type))).status).toBe(500);
      expect(refused[0]).toBe('ERR_BODY_CONSUMED');
      expect(refused[1]).toContain('Mount requireCallback() above express.json()');
      expect(refused[1]).toContain('express.json({ verify: keepRawBody })');
    });

    it('refuses one changed byte', async () => {
      const app = framework();
      app.use(requireCallback(options), parser());
      const answer = await post(app, `${body} `, signed(body, type));
      expect(answer).toMatchObject({ status: 401, body: { reason: 'signature-invalid' } });
      expect(answer.headers.get('www-authenticate')).toBe(
        'standard-webhooks realm="standard-webhooks", error="signature-invalid"',
      );
    });
  });

  describe('requireCallback()', () => {
    it('hands on any bytes, of any size up to its limit', async () => {
      for (const size of [0, 1, 65_536, MiB]) {
        const body = new Uint8Array(size).fill(0xff);
        const app = framework();
        app.use(requireCallback(options));
        const { status, body: got } = await post(app, body, signed(body));
        expect(status).toBe(200);
        expect(got.bytes).toBe(Buffer.from(body).toString('latin1'));
      }
      const app = framework();
      app.use(requireCallback(options));
      const body = new Uint8Array(MiB + 1);
      expect((await post(app, body, signed(body))).status).toBe(413);
    });

    it('joins a body that comes in pieces, and parsers can read it afterwards', async () => {
      const body = Buffer.from(JSON.stringify({ text: 'ä'.repeat(2_000) }));
      const app = framework();
      app.post('/', requireCallback({ ...options, limit: 5_000 }), framework.json(), (req, res) => {
        res.json({ same: body.equals(callbackOf(req).body), length: req.body.text.length });
      });
      const { origin } = await listen(app);
      const headers = { ...signed(body), host: new URL(origin).host };
      const request = { method: 'POST', url: `${origin}/`, headers, body };
      for (const sending of [{ pieces: 7 }, { pieces: 7, chunked: true }, { chunked: true }]) {
        const answer = await send(request, sending);
        expect(JSON.parse(answer.body)).toEqual({ same: true, length: 2_000 });
      }
      const longer = await send(request, { pieces: 500, chunked: true, body: Buffer.alloc(5_001) });
      expect(longer.status).toBe(413);
    });

    it('does not wait for a body longer than the callback is fresh', async () => {
      const app = framework();
      app.use(requireCallback({ ...options, clock: () => NOW + 299.9 }));
      const { port, origin } = await listen(app);
      const client = new RawClient(port);
      const headers = { host: new URL(origin).host, ...signed('{}'), 'content-length': '2' };
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      client.write(`POST / HTTP/1.1\r\n${lines.join('')}\r\n{`);
      const answer = await client.answer();
      expect(answer.status).toBe(401);
      expect(JSON.parse(answer.body)).toMatchObject({ reason: 'clock-skew' });
    });

    it('also limits bodies that a parser kept', async () => {
      const app = framework();
      app.use(framework.json({ verify: keepRawBody }), requireCallback({ ...options, limit: 4 }));
      expect((await post(app, '[1,2]', signed('[1,2]'))).status).toBe(413);
    });

    it('accepts POST only: no signature covers the method', async () => {
      for (const method of ['DELETE', 'PUT', 'PATCH', 'GET', 'OPTIONS']) {
        const handled: string[] = [];
        const app = framework();
        // Express would not call a POST route for other methods, so this route accepts all methods.
        app.all('/callbacks', requireCallback(options), (req, _res, next) => {
          handled.push(req.method);
          next();
        });
        const body = method === 'GET' ? '' : '{}';
        const answer = await post(app, body, signed(body), method);
        expect(answer, method).toMatchObject({
          status: 401,
          body: {
            reason: 'component-not-covered',
            detail: `Callbacks are sent with POST, and no signature covers the method: "${method}" is not accepted here`,
          },
        });
        expect(handled).toEqual([]);
      }
    });

    it('does nothing the second time if mounted twice, and refuses a callback that comes twice', async () => {
      const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
      const verifier = createCallbackVerifier({ ...options, nonces });
      const [first, second] = [framework(), framework()];
      for (const app of [first, second])
        app.use(requireCallback(verifier), requireCallback(verifier, { limit: 10 }));
      expect((await post(first, '{}', signed('{}'))).status).toBe(200);
      const again = await post(second, '{}', signed('{}'));
      expect(again).toMatchObject({ status: 401, body: { reason: 'nonce-reused' } });
    });

    it('asks the sender to come back if the nonce store has just started', async () => {
      const nonces = new MemoryNonceStore({ clock });
      const app = framework();
      app.use(requireCallback({ ...options, nonces }));
      const answer = await post(app, '{}', signed('{}'));
      expect(answer).toMatchObject({ status: 503, body: { reason: 'unavailable' } });
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
      expect(answer.headers.has('countersign-epoch')).toBe(false);
    });

    it('passes on errors that are not refusals', async () => {
      const broken = {
        scheme: 'x',
        sender: 'x',
        verify: () => Promise.reject(new Error('broken')),
      };
      const app = framework();
      app.use(requireCallback(broken));
      app.use(
        ((error, _req, res, _next) =>
          void res.status(500).send(error.message)) as express.ErrorRequestHandler,
      );
      expect(await post(app, '{}', signed('{}'))).toMatchObject({ status: 500, body: 'broken' });
    });

    it('refuses options that it cannot use', () => {
      for (const [given, why] of [
        [undefined, 'Cannot build adapter: expected a callback verifier or its options, got'],
        [null, 'Cannot build adapter: expected a callback verifier or its options, got null'],
        [SECRET, 'Cannot build adapter: expected a callback verifier or its options, got string'],
        [{}, 'Cannot build callback verifier: option "secrets" is undefined'],
        [{ ...options, limit: -1 }, 'Cannot build adapter: option "limit" is -1'],
        [{ ...options, body: 'stream' }, 'Cannot build callback verifier: unknown option "body"'],
      ] as const)
        expect(() => requireCallback(given as never)).toThrow(why);
    });

    it('runs a handler once, and answers each delivery with a status that its sender understands', async () => {
      const once = createOnce({ store: new MemoryOnceStore({ clock }) });
      const handled: string[] = [];
      let fail = true;
      const app = framework();
      app.post('/callbacks', requireCallback(options), (req, res, next) => {
        once(req, async (callback) => {
          handled.push(callback.id);
          if (fail) throw new Error('not yet');
        }).then(({ status, headers }) => void res.status(status).set(headers).end(), next);
      });
      app.use(
        ((_error, _req, res, _next) => void res.status(500).end()) as express.ErrorRequestHandler,
      );
      const { origin } = await listen(app);
      const deliver = async (signedAt: number) => {
        const headers = signCallback('{}', { secrets: [SECRET], signedAt });
        return (await fetch(`${origin}/callbacks`, { method: 'POST', headers, body: '{}' })).status;
      };
      expect(await deliver(NOW - 3)).toBe(500);
      fail = false;
      expect(await deliver(NOW - 2)).toBe(200);
      expect(await deliver(NOW - 1)).toBe(200);
      expect(handled).toEqual(['msg_1', 'msg_1']);
    });
  });

  describe('callbackOf()', () => {
    it('refuses a request that no verifier has accepted', async () => {
      const app = framework();
      app.use((req, res) => {
        expect(() => callbackOf(req)).toThrow(
          'Cannot tell the callback of "/x": mount requireCallback() above this route',
        );
        res.end();
      });
      const { origin } = await listen(app);
      expect((await fetch(`${origin}/x`)).status).toBe(200);
    });
  });

  describe('handleOnce()', () => {
    it.each([
      ['429 if its sender has no room', { maxEntries: 5, perSender: 1 }, 429],
      ['503 if the store is full', { maxEntries: 1 }, 503],
      ['503 if the store failed', undefined, 503],
    ] as const)('answers %s, with Retry-After', async (_, bounds, status) => {
      const store = new MemoryOnceStore({ ...bounds, clock });
      if (bounds === undefined)
        store.begin = async () => {
          throw new Error('away');
        };
      const handled: string[] = [];
      const app = framework();
      app.post(
        '/:sender',
        (req, res, next) =>
          requireCallback({ ...options, sender: String(req.params['sender']) })(req, res, next),
        handleOnce(createOnce({ store }), ({ id }) => handled.push(id)),
      );
      const { origin } = await listen(app);
      const answers: Response[] = [];
      for (const sender of ['alice', status === 503 ? 'bob' : 'alice']) {
        const headers = signCallback('{}', { secrets: [SECRET], id: `msg_${answers.length}` });
        answers.push(await fetch(`${origin}/${sender}`, { method: 'POST', headers, body: '{}' }));
      }
      const [first, second] = answers as [Response, Response];
      const refused = bounds === undefined ? first : second;
      expect(refused.status).toBe(status);
      expect(Number(refused.headers.get('retry-after'))).toBe(bounds === undefined ? 1 : 3_600);
      expect(handled).toEqual(bounds === undefined ? [] : ['msg_0']);
    });
  });
}
