import { gzipSync } from 'node:zlib';
import { keepRawBody, requireSignature } from '@countersign/server/express';
import type express from 'express';
import type { Express, RequestHandler } from 'express';
import multer from 'multer';
import { describe, expect, it } from 'vitest';
import {
  headOf,
  listen,
  oneConnection,
  parties,
  RawClient,
  type Sending,
  send,
} from '../sockets.ts';

const MiB = 1_048_576;
const SIZES = [0, 1, 65_536, MiB];
const LIMIT = { limit: 2 * MiB };

interface Parser {
  readonly name: string;
  /** `hook` is the parser's `verify`. */
  mount(hook?: typeof keepRawBody): RequestHandler;
  readonly contentType: string;
  /** A body of this length, in bytes. */
  body(size: number): Uint8Array | FormData;
}

function parsersOf(framework: typeof express): Parser[] {
  const options = (hook?: typeof keepRawBody) => ({
    limit: 2 * MiB,
    ...(hook && { verify: hook }),
  });
  return [
    {
      name: 'express.json()',
      mount: (hook) => framework.json({ ...options(hook), strict: false }),
      contentType: 'application/json',
      body: (size) =>
        Buffer.from(size < 2 ? '7'.repeat(size) : JSON.stringify('v'.repeat(size - 2))),
    },
    {
      name: 'express.urlencoded()',
      mount: (hook) => framework.urlencoded({ ...options(hook), extended: true }),
      contentType: 'application/x-www-form-urlencoded',
      body: (size) => Buffer.from('a=b%20c&f='.padEnd(size, 'x').slice(0, size)),
    },
    {
      name: 'express.text()',
      mount: (hook) => framework.text(options(hook)),
      contentType: 'text/plain',
      body: (size) => Buffer.from('t'.repeat(size)),
    },
    {
      name: 'express.raw()',
      mount: (hook) => framework.raw(options(hook)),
      contentType: 'application/octet-stream',
      body: (size) => Buffer.alloc(size, 0xff),
    },
  ];
}

/** Everything that `requireSignature()` promises on every version of Express. */
export function requireSignatureContract(framework: typeof express): void {
  const parsers = parsersOf(framework);

  /** Answers with what the parsers made of a request. */
  function echo(app: Express): Express {
    app.use((req, res) => {
      const body = Buffer.isBuffer(req.body) ? req.body.toString('latin1') : req.body;
      const files = (req.files as Express.Multer.File[] | undefined)?.map(
        ({ buffer, ...file }) => ({ ...file, bytes: buffer.toString('latin1') }),
      );
      res.json({
        method: req.method,
        url: req.originalUrl,
        body: body === undefined ? 'none' : body,
        files,
      });
    });
    return app;
  }

  /** Two servers that differ only in the signature. */
  async function serveTwice(parser: RequestHandler) {
    const { verifier, signer, refused } = parties();
    const app = framework().use(requireSignature(verifier, LIMIT)).use(parser);
    return {
      signer,
      refused,
      guarded: await listen(echo(app)),
      plain: await listen(echo(framework().use(parser))),
    };
  }

  describe('requireSignature() above a parser', () => {
    const ways: [string, Sending][] = [
      ['with a Content-Length, in one piece', {}],
      ['with a Content-Length, in small pieces', { pieces: 1_021 }],
      ['chunked, in one piece', { chunked: true }],
      ['chunked, in small pieces', { chunked: true, pieces: 1_021 }],
    ];
    for (const parser of parsers) {
      it.each(ways)(`leaves the body to ${parser.name}: %s`, async (_, sending) => {
        const { signer, guarded, plain } = await serveTwice(parser.mount());
        for (const size of SIZES) {
          const request = {
            method: 'POST',
            headers: { 'content-type': parser.contentType },
            body: parser.body(size),
          };
          const signed = await signer.sign({ ...request, url: `${guarded.origin}/parse?a=1` });
          const answer = await send(signed, sending);
          const expected = await send({ ...signed, url: `${plain.origin}/parse?a=1` }, sending);
          expect(answer.status).toBe(200);
          expect(answer.body === expected.body).toBe(true);
        }
      });
    }

    it.each(ways)('leaves uploaded files to multer: %s', async (_, sending) => {
      const { signer, guarded, plain } = await serveTwice(multer().any());
      for (const size of SIZES) {
        const form = new FormData();
        form.set('title', 'cats');
        form.set('file', new Blob([Buffer.alloc(size, 0xfe)]), 'cats.bin');
        const signed = await signer.sign({
          method: 'POST',
          url: `${guarded.origin}/upload`,
          body: form,
        });
        const answer = await send(signed, sending);
        const expected = await send({ ...signed, url: `${plain.origin}/upload` }, sending);
        expect(JSON.parse(answer.body).files[0].size).toBe(size);
        expect(answer.body === expected.body).toBe(true);
      }
    });

    it('leaves a body that comes byte by byte to the parser', async () => {
      const { signer, guarded } = await serveTwice(framework.json());
      const body = { videoUrl: 'https://videos.test/cats.mp4' };
      for (const chunked of [false, true]) {
        const signed = await signer.sign({ method: 'POST', url: `${guarded.origin}/`, body });
        expect(JSON.parse((await send(signed, { pieces: 1, chunked })).body).body).toEqual(body);
      }
    });

    it('verifies the bytes on the wire of a compressed body, and lets the parser inflate them', async () => {
      const { signer, guarded } = await serveTwice(framework.json());
      const body = gzipSync(JSON.stringify({ zipped: 'x'.repeat(10_000) }));
      const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
      const signed = await signer.sign({
        method: 'POST',
        url: `${guarded.origin}/`,
        headers,
        body,
      });
      const answer = await send(signed);
      expect(JSON.parse(answer.body).body.zipped).toHaveLength(10_000);
    });

    it('serves 50 requests on one connection, read or not', async () => {
      const { verifier, signer } = parties();
      const sockets = new Set();
      const app = framework().use(requireSignature(verifier));
      app.post('/read', framework.json(), (req, res) => void res.json(req.body));
      app.post('/unread', (_req, res) => void res.json('unread'));
      const { origin, server } = await listen(app);
      server.on('request', (req) => sockets.add(req.socket));
      const agent = oneConnection();
      for (let index = 0; index < 50; index++) {
        const path = index % 2 === 0 ? '/read' : '/unread';
        const signed = await signer.sign({
          method: 'POST',
          url: origin + path,
          body: { index, filler: 'x'.repeat(index * 2_000) },
        });
        const answer = await send(signed, { agent, chunked: index % 3 === 0, pieces: 3_000 });
        expect(answer.status).toBe(200);
        if (path === '/read') expect(JSON.parse(answer.body).index).toBe(index);
      }
      expect(sockets.size).toBe(1);
    });

    it('serves pipelined requests in their order', async () => {
      const { signer, guarded } = await serveTwice(framework.json());
      const client = new RawClient(guarded.port);
      let all = Buffer.alloc(0);
      for (let index = 0; index < 5; index++) {
        const signed = await signer.sign({
          method: 'POST',
          url: `${guarded.origin}/`,
          body: { index },
        });
        const body = signed.body as Uint8Array;
        all = Buffer.concat([
          all,
          Buffer.from(headOf(signed, { 'content-length': body.length })),
          body,
        ]);
      }
      client.write(all);
      for (let index = 0; index < 5; index++)
        expect(JSON.parse((await client.answer()).body).body).toEqual({ index });
    });

    it('lets a client wait for 100 Continue', async () => {
      const { signer, guarded } = await serveTwice(framework.json());
      const signed = await signer.sign({
        method: 'POST',
        url: `${guarded.origin}/`,
        body: { patient: true },
      });
      const body = signed.body as Uint8Array;
      const client = new RawClient(guarded.port);
      client.write(headOf(signed, { 'content-length': body.length, expect: '100-continue' }));
      expect((await client.answer()).status).toBe(100);
      client.write(body);
      expect(JSON.parse((await client.answer()).body).body).toEqual({ patient: true });
    });

    it('verifies the body of a GET', async () => {
      const { signer, guarded, refused } = await serveTwice(framework.text());
      const sign = () =>
        signer.sign({
          method: 'GET',
          url: `${guarded.origin}/`,
          headers: { 'content-type': 'text/plain' },
          body: 'asked',
        });
      expect(JSON.parse((await send(await sign())).body).body).toBe('asked');
      expect((await send(await sign(), { body: Buffer.from('other') })).status).toBe(401);
      expect((await send(await sign(), { body: new Uint8Array() })).status).toBe(401);
      expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_MISMATCH', 'ERR_BODY_MISMATCH']);
    });

    it.each([
      ['text/plain', { 'content-type': 'text/plain' }],
      ['none', {}],
      ['one that no parser takes', { 'content-type': 'video/mp4' }],
    ])('binds a body whatever its content type: %s', async (_, headers: Record<string, string>) => {
      const { signer, guarded, refused } = await serveTwice(framework.raw({ type: () => true }));
      const sign = () =>
        signer.sign({
          method: 'POST',
          url: `${guarded.origin}/`,
          headers,
          body: Buffer.from([0xff]),
        });
      for (const chunked of [false, true]) {
        expect(JSON.parse((await send(await sign(), { chunked })).body).body).toBe('\xff');
        expect((await send(await sign(), { chunked, body: Buffer.from([0xfe]) })).status).toBe(401);
        expect(
          (await send(await sign(), { chunked, body: Buffer.from([0xff, 0xff]) })).status,
        ).toBe(401);
        expect((await send(await sign(), { chunked, body: new Uint8Array() })).status).toBe(401);
      }
      expect(refused.every(({ code }) => code === 'ERR_BODY_MISMATCH')).toBe(true);
    });

    it('refuses a body that is added to a request without one', async () => {
      const { signer, guarded } = await serveTwice(framework.text());
      for (const chunked of [false, true]) {
        const signed = await signer.sign({ method: 'POST', url: `${guarded.origin}/` });
        expect((await send(signed, { chunked, body: Buffer.from('added') })).status).toBe(401);
      }
    });
  });

  describe('requireSignature() below a parser', () => {
    for (const parser of parsers) {
      it(`verifies what ${parser.name} kept by its hook`, async () => {
        const { verifier, signer, refused } = parties();
        const app = framework().use(parser.mount(keepRawBody)).use(requireSignature(verifier));
        const { origin } = await listen(echo(app));
        for (const size of [0, 1, 70_000]) {
          for (const chunked of [false, true]) {
            const sign = () =>
              signer.sign({
                method: 'POST',
                url: `${origin}/`,
                headers: { 'content-type': parser.contentType },
                body: parser.body(size),
              });
            expect((await send(await sign(), { chunked })).status).toBe(200);
          }
        }
        const signed = await signer.sign({
          method: 'POST',
          url: `${origin}/`,
          headers: { 'content-type': parser.contentType },
          body: parser.body(1),
        });
        expect((await send(signed, { body: parser.body(3) as Uint8Array })).status).toBe(401);
        expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_MISMATCH']);
      });

      it(`answers 500 if ${parser.name} kept nothing, and tells the operator which line to change`, async () => {
        const { verifier, signer, refused } = parties();
        const { origin } = await listen(
          echo(framework().use(parser.mount()).use(requireSignature(verifier))),
        );
        for (const chunked of [false, true]) {
          const signed = await signer.sign({
            method: 'POST',
            url: `${origin}/`,
            headers: { 'content-type': parser.contentType },
            body: parser.body(9),
          });
          const answer = await send(signed, { chunked });
          expect(answer.status).toBe(500);
          expect(JSON.parse(answer.body)).toMatchObject({
            reason: 'internal',
            status: 500,
            retry: 'no',
          });
          expect(answer.body).not.toMatch(/express|mount/);
        }
        expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_CONSUMED', 'ERR_BODY_CONSUMED']);
        expect(refused[0]?.message).toContain('Mount requireSignature() above express.json()');
        expect(refused[0]?.message).toContain('express.json({ verify: keepRawBody })');
      });

      it(`accepts no body at all though ${parser.name} kept nothing of it`, async () => {
        const { verifier, signer } = parties();
        const { origin } = await listen(
          echo(framework().use(parser.mount()).use(requireSignature(verifier))),
        );
        for (const chunked of [false, true]) {
          const signed = await signer.sign({
            method: 'POST',
            url: `${origin}/`,
            headers: { 'content-type': parser.contentType },
          });
          expect((await send(signed, { chunked })).status).toBe(200);
        }
      });
    }

    it('does not take an inflated body for the signed one', async () => {
      for (const parser of parsers) {
        const { verifier, signer } = parties();
        const { origin } = await listen(
          echo(framework().use(parser.mount(keepRawBody)).use(requireSignature(verifier))),
        );
        const inner = gzipSync(parser.body(40) as Uint8Array);
        const headers = { 'content-type': parser.contentType, 'content-encoding': 'gzip' };
        const honest = await signer.sign({
          method: 'POST',
          url: `${origin}/`,
          headers,
          body: inner,
        });
        const answer = await send(honest);
        expect([answer.status, JSON.parse(answer.body)]).toMatchObject([
          500,
          { reason: 'internal' },
        ]);
        // After one inflation these are the signed bytes, but not the intended content.
        const forged = await signer.sign({
          method: 'POST',
          url: `${origin}/`,
          headers,
          body: inner,
        });
        const other = await send(forged, { body: gzipSync(inner) });
        // After one inflation the body is no JSON, so the parser itself refuses it.
        const isJson = parser.contentType === 'application/json';
        expect(other.status).toBe(isJson ? 400 : 500);
        if (!isJson) expect(JSON.parse(other.body)).toMatchObject({ reason: 'internal' });
      }
    });

    it('answers 500 if other code decoded the body to text', async () => {
      const { verifier, signer, refused } = parties();
      const decode: RequestHandler = (req, _res, next) => {
        req.setEncoding('utf8');
        next();
      };
      const { origin } = await listen(echo(framework().use(decode, requireSignature(verifier))));
      const signed = await signer.sign({
        method: 'POST',
        url: `${origin}/`,
        body: Buffer.from([0xff]),
      });
      expect((await send(signed)).status).toBe(500);
      expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_CONSUMED']);
    });
  });

  describe('requireSignature() mounted', () => {
    it('twice, verifies once', async () => {
      const { verifier, signer, nonces } = parties();
      const router = framework.Router().use(requireSignature(verifier), framework.json());
      const { origin } = await listen(
        echo(framework().use(requireSignature(verifier)).use(router)),
      );
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: { once: true } });
      const answer = await send(signed);
      expect(JSON.parse(answer.body).body).toEqual({ once: true });
      expect(nonces.size).toBe(1);
    });

    it.each(['buffer', 'stream'] as const)(
      'with two verifiers, asks both, in mode %s',
      async (body) => {
        const { keys, verifier, signer } = parties();
        const second = parties({ keys });
        const app = framework().use(
          requireSignature(verifier, { body }),
          requireSignature(second.verifier, { body }),
          framework.text(),
        );
        const { origin } = await listen(echo(app));
        for (const pieces of [100_000, 10_000]) {
          const signed = await signer.sign({
            method: 'POST',
            url: `${origin}/`,
            body: 'x'.repeat(100_000),
          });
          const answer = await send(signed, { pieces });
          expect(JSON.parse(answer.body).body).toHaveLength(100_000);
        }
        expect(second.nonces.size).toBe(2);
      },
    );

    it('on a router, verifies the target as it stood on the request line', async () => {
      const { verifier, signer, refused } = parties();
      const app = framework();
      app.use('/api', requireSignature(verifier));
      app.get('/api/videos', (req, res) => void res.json(req.originalUrl));
      const { origin } = await listen(app);
      const whole = await signer.sign({ method: 'GET', url: `${origin}/api/videos?a=1` });
      expect((await send(whole)).body).toBe('"/api/videos?a=1"');
      const cut = await signer.sign({ method: 'GET', url: `${origin}/videos?a=1` });
      expect((await send({ ...cut, url: `${origin}/api/videos?a=1` })).status).toBe(401);
      expect(refused.map(({ code }) => code)).toEqual(['ERR_SIGNATURE_MISMATCH']);
    });
  });
}
