import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import { createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
import {
  handleOnce,
  identityOf,
  requireCallback,
  requireSignature,
} from '@countersign/server/express';
import * as fetchAdapter from '@countersign/server/fetch';
import * as nodeAdapter from '@countersign/server/node';
import { serve } from '@hono/node-server';
import express from 'express';
import express4 from 'express4';
import { Hono } from 'hono';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  NOW,
  newSecret,
  signCallback,
} from '../../packages/server/test/callbacks/receive/callbacks-sender.ts';
import {
  headOf,
  listen,
  listenOn,
  parties,
  RawClient,
  send,
} from '../../packages/server/test/http/sockets.ts';
import { until } from '../support/deadline.ts';

const SECRET = newSecret();
const receiver = { secrets: [SECRET], clock: () => NOW };

/** Replaces process warnings, and collects their codes. */
function warnings(): string[] {
  const codes: string[] = [];
  const spy = vi.spyOn(process, 'emitWarning').mockImplementation(((_: string, options: object) => {
    codes.push((options as { code: string }).code);
  }) as typeof process.emitWarning);
  onTestFinished(() => spy.mockRestore());
  return codes;
}

describe('what was verified is what runs', () => {
  it('X1: a handler runs with the whole body that was signed, or it does not run', async () => {
    for (const framework of [express, express4 as unknown as typeof express]) {
      for (const how of ['nothing', 'FIN', 'RST', 'one byte', 'a line'] as const) {
        const { verifier, nonces, signer } = parties();
        const client: { raw?: RawClient } = {};
        const claim = nonces.claim.bind(nonces);
        // The store answers when the client has acted, and the server had time to notice.
        const left = new Promise<void>((resolve) => {
          nonces.claim = async (nonce) => {
            const socket = client.raw?.socket;
            if (how === 'FIN') socket?.end();
            else if (how === 'RST') socket?.resetAndDestroy();
            else if (how !== 'nothing') socket?.write(how === 'one byte' ? '!' : 'GARBAGE\r\n\r\n');
            for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
            return claim(nonce).finally(resolve);
          };
        });
        const bodies: unknown[] = [];
        const app = framework();
        app.use(requireSignature(verifier), framework.json());
        app.post('/items/delete', (req, res) => {
          bodies.push(req.body);
          res.json({ deleted: req.body.filter });
        });
        const { origin, port } = await listen(app);
        const body = { filter: { id: 7 } };
        const signed = await signer.sign({ method: 'POST', url: `${origin}/items/delete`, body });
        client.raw = new RawClient(port);
        client.raw.write(headOf(signed, { 'content-length': 19 }));
        client.raw.write(signed.body as Uint8Array);
        await left;
        if (how !== 'RST') {
          const answer = await client.raw.answer();
          expect([how, answer.status, answer.body]).toEqual([how, 200, '{"deleted":{"id":7}}']);
        }
        for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
        expect(bodies, how).toEqual([body]);
      }
    }
  });

  it('X1: a connection that breaks before the body is whole runs nothing', async () => {
    const { verifier, signer, refused } = parties();
    let runs = 0;
    const app = express();
    app.use(requireSignature(verifier), express.json(), (_req, res) => void res.json(++runs));
    const { origin, port } = await listen(app);
    for (const end of [
      (client: RawClient) => client.socket.end(),
      (client: RawClient) => client.socket.resetAndDestroy(),
    ]) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: { a: 1 } });
      const client = new RawClient(port);
      client.write(`${headOf(signed, { 'content-length': 7 })}{"a":`);
      await until(() => client.socket.bytesWritten > 0, 'the request is sent');
      end(client);
      await client.closed;
    }
    await until(() => refused.length === 2, 'both are refused');
    expect(refused.map(({ code }) => code)).toEqual(['ERR_BODY_MISMATCH', 'ERR_BODY_MISMATCH']);
    expect(runs).toBe(0);
  });

  it('X2: fields that Node hides from the application are not hidden from the verifier', async () => {
    for (const body of ['buffer', 'stream'] as const) {
      const { verifier, signer, refused } = parties();
      const bodies: string[] = [];
      const listener = nodeAdapter.withSignature(
        async (req, res) => {
          let text = '';
          for await (const chunk of req) text += chunk;
          bodies.push(text);
          res.end();
        },
        verifier,
        { body },
      );
      const server = createServer(listener);
      server.maxHeadersCount = 20;
      const { origin, port } = await listen(server);
      const statuses: number[] = [];
      for (const [fields, more] of [
        [0, ''],
        [20, ''],
        [20, '&amount=1000000&to=mallory'],
      ] as const) {
        const url = `${origin}/transfer`;
        const signed = await signer.sign({ method: 'POST', url, body: 'to=bob&amount=1' });
        const junk = Object.fromEntries(Array.from({ length: fields }, (_, at) => [`j${at}`, '1']));
        const client = new RawClient(port);
        client.write(headOf(signed, { ...junk, 'content-length': 15 + more.length }));
        client.write(`to=bob&amount=1${more}`);
        statuses.push((await client.answer()).status);
      }
      expect(bodies).toEqual(['to=bob&amount=1']);
      // Newer versions of Node refuse such requests themselves, before our code runs.
      const isNewer = statuses[1] === 431;
      expect(statuses).toEqual(isNewer ? [200, 431, 431] : [200, 400, 400]);
      expect(refused.map(({ code }) => code)).toEqual(
        isNewer ? [] : ['ERR_SIGNATURE_AMBIGUOUS', 'ERR_SIGNATURE_AMBIGUOUS'],
      );
      for (const { message } of refused)
        expect(message).toMatch(/"j\d+" was received.*server\.maxHeadersCount/);
    }
  });

  it('X2: a field whose name is a property of every object is not hidden either', async () => {
    const { verifier, signer } = parties();
    const { origin, port } = await listen(
      nodeAdapter.withSignature((_req, res) => void res.end(), verifier),
    );
    for (const [name, status] of [
      ['constructor', 200],
      ['__proto__', 400],
    ] as const) {
      const signed = await signer.sign({ method: 'GET', url: `${origin}/` });
      const client = new RawClient(port);
      const head = headOf(signed).replace('\r\n', `\r\n${name}: x\r\n`);
      client.write(head);
      expect([name, (await client.answer()).status]).toEqual([name, status]);
    }
  });

  it('X5: with publicOrigin, the application reads the host that was verified', async () => {
    const { verifier, signer } = parties({ publicOrigin: 'https://api.example.com' });
    const seen: unknown[] = [];
    const app = express();
    app.use(requireSignature(verifier), (req, res) => {
      seen.push([req.hostname, req.headers.host, identityOf(req).host]);
      res.end();
    });
    const { port } = await listen(app);
    const fetching = fetchAdapter.withSignature(async (request, identity) => {
      const { host } = new URL(request.url);
      seen.push([host, request.headers.get('host'), identity.host, await request.text()]);
      return new Response();
    }, verifier);
    const url = 'https://api.example.com/reset';
    for (const host of ['evil.test', 'other-tenant.example.com', 'a/b?c@evil.test']) {
      const signed = await signer.sign({ method: 'POST', url, body: 'x' });
      const client = new RawClient(port);
      client.write(`${headOf(signed, { host, 'content-length': 1 })}x`);
      expect((await client.answer()).status).toBe(200);
      const { headers } = await signer.sign({ method: 'POST', url, body: 'x' });
      const request = new Request('http://localhost:3000/reset', {
        method: 'POST',
        headers: { ...headers, host },
        body: 'x',
      });
      expect((await fetching(request)).status).toBe(200);
    }
    // A framework may write the public host into the URL, and leave the field as it came.
    const { headers } = await signer.sign({ method: 'POST', url, body: 'x' });
    const init = { method: 'POST', headers: { ...headers, host: 'evil.test' }, body: 'x' };
    expect((await fetching(new Request(url, init))).status).toBe(200);
    const verified = 'api.example.com';
    expect(seen.pop()).toEqual([verified, verified, verified, 'x']);
    for (const [index, hosts] of seen.entries())
      expect(hosts).toEqual([verified, verified, verified, ...(index % 2 === 1 ? ['x'] : [])]);
    expect(seen).toHaveLength(6);
  });

  it('X14: a fetch handler verifies the target and the host that came over the wire', async () => {
    const { verifier, signer } = parties();
    const handled: string[] = [];
    const app = new Hono();
    app.use('*', async (context, next) => {
      try {
        const { request } = await fetchAdapter.verifyRequest(verifier, context.req.raw);
        context.req.raw = request;
      } catch (error) {
        return fetchAdapter.refusalResponse(error, verifier);
      }
      await next();
      return undefined;
    });
    app.all('*', (context) => {
      handled.push(context.req.path);
      return context.text('handled');
    });
    const wrapped = fetchAdapter.withSignature((request) => {
      handled.push(new URL(request.url).pathname);
      return new Response('handled');
    }, verifier);
    for (const fetch of [app.fetch, wrapped]) {
      const server = serve({ fetch, port: 0, hostname: '127.0.0.1' }) as Server;
      onTestFinished(() => void server.close());
      if (!server.listening) await once(server, 'listening');
      const { port } = server.address() as { port: number };
      const host = `127.0.0.1:${port}`;
      for (const [target, further, rest, status] of [
        ['/videos/1', {}, '', 200],
        ['/admin/x/../../videos/1', {}, '', 400],
        ['/admin/x/%2e%2e/%2E%2E/videos/1', {}, '', 400],
        ['/videos/./1', {}, '', 400],
        ['/videos/1#/admin', {}, '', 400],
        ['/videos/1#', {}, '', 400],
        [`http://${host}/videos/1`, {}, '', 400],
        ['http://evil.test/videos/1', {}, '', 400],
        ['/videos/1', { 'content-length': 3 }, 'abc', 401],
        ['/videos/1', { 'transfer-encoding': 'chunked' }, '3\r\nabc\r\n0\r\n\r\n', 401],
      ] as const) {
        const signed = await signer.sign({ method: 'GET', url: `http://${host}/videos/1` });
        const client = new RawClient(port);
        const head = headOf(signed, { ...further, connection: 'close' });
        client.write(head.replace('GET /videos/1 ', `GET ${target} `) + rest);
        await client.closed;
        const got = Number(client.received.split(' ')[1]);
        expect([target, further, got]).toEqual([target, further, status]);
      }
    }
    expect(handled).toEqual(['/videos/1', '/videos/1']);
  });

  it('X14: what a runtime has repaired is refused where it can be seen', async () => {
    const { verifier, signer } = parties();
    const signed = await signer.sign({ method: 'GET', url: 'https://api.test/videos/1' });
    const accepts = async (url: string, headers: Record<string, string> = {}) =>
      fetchAdapter
        .verifyRequest(verifier, new Request(url, { headers: { ...signed.headers, ...headers } }))
        .then(
          () => 'accepted',
          ({ code }) => code as string,
        );
    const path = 'https://api.test/videos/1';
    expect(await accepts(`${path}#admin`)).toBe('ERR_TARGET_AMBIGUOUS');
    expect(await accepts('https://evil.test/videos/1', { host: 'api.test' })).toBe(
      'ERR_TARGET_AMBIGUOUS',
    );
    expect(await accepts(path, { 'content-length': '3' })).toBe('ERR_BODY_MISMATCH');
    expect(await accepts(path, { host: 'api.test', 'content-length': '0' })).toBe('accepted');
  });

  it('X14: the target can be told by the option, and is what is verified', async () => {
    const { verifier, signer } = parties();
    const { headers } = await signer.sign({ method: 'GET', url: 'https://api.test/videos/1' });
    const request = new Request('https://api.test/videos/1', { headers });
    const verify = (raw: string) =>
      fetchAdapter.verifyRequest(verifier, request, { target: () => raw });
    await expect(verify('/a/../videos/1')).rejects.toMatchObject({ code: 'ERR_TARGET_AMBIGUOUS' });
    await expect(verify('/videos/1')).resolves.toMatchObject({ identity: { subject: 'alice' } });
  });
});

describe('what a listener throws', () => {
  const failures = {
    throws: () => {
      throw new Error('a bug');
    },
    rejects: async () => Promise.reject(new Error('a bug')),
    'rejects later': () => new Promise<void>((_, reject) => setImmediate(reject, 'a bug')),
  };

  it.each(Object.entries(failures))(
    'X15: a listener that %s is answered 500, over HTTP/1 and HTTP/2',
    async (_, fail) => {
      const codes = warnings();
      const { verifier, signer } = parties();
      const { origin } = await listen(nodeAdapter.withSignature(fail, verifier));
      expect((await send(await signer.sign({ method: 'GET', url: origin }))).status).toBe(500);
      const callback = nodeAdapter.withCallback(fail, receiver);
      const { origin: receiving } = await listen(callback);
      const headers = signCallback('{}', { secrets: [SECRET] });
      const init = { method: 'POST', headers, body: '{}' };
      expect((await fetch(receiving, init)).status).toBe(500);

      const { createServer: createHttp2Server } = await import('node:http2');
      const http2 = createHttp2Server(
        nodeAdapter.withSignature<Http2ServerRequest, Http2ServerResponse>(fail, verifier),
      );
      const { origin: origin2 } = await listenOn(http2, () => undefined);
      const client = connect(origin2);
      onTestFinished(() => client.destroy());
      const signed = await signer.sign({ method: 'GET', url: `${origin2}/` });
      const stream = client.request({ ':path': '/', ...signed.headers });
      const [answer] = await once(stream, 'response');
      expect(answer[':status']).toBe(500);
      expect(codes).toEqual(Array(3).fill('COUNTERSIGN_LISTENER_FAILED'));
    },
  );

  it('X15: an answer that a failing listener had begun is broken off', async () => {
    const codes = warnings();
    const { verifier, signer } = parties();
    const { origin, port } = await listen(
      nodeAdapter.withSignature(async (_req, res) => {
        res.writeHead(200, { 'content-length': 10 });
        res.write('half');
        throw new Error('a bug');
      }, verifier),
    );
    const client = new RawClient(port);
    client.write(headOf(await signer.sign({ method: 'GET', url: `${origin}/` })));
    await client.closed;
    expect(client.received).not.toContain('500');
    expect(codes).toEqual(['COUNTERSIGN_LISTENER_FAILED']);
  });

  it.each([
    ['Express 5', express],
    ['Express 4', express4 as unknown as typeof express],
  ])(
    'X15: what a handler of once() rejects with reaches the error handling of %s',
    async (_, framework) => {
      const seen: string[] = [];
      const app = framework();
      const once = createOnce({ store: new MemoryOnceStore() });
      app.post(
        '/callbacks',
        requireCallback(receiver),
        handleOnce(once, (callback) => JSON.parse(callback.text())),
      );
      const failed: express.ErrorRequestHandler = (error, _req, res, _next) => {
        seen.push((error as Error).name);
        res.status(500).end();
      };
      app.use(failed);
      const { origin } = await listen(app);
      for (const [body, status] of [
        ['no json', 500],
        ['{"is":"json"}', 200],
      ] as const) {
        const headers = signCallback(body, { secrets: [SECRET], id: `msg_${status}` });
        const response = await fetch(`${origin}/callbacks`, { method: 'POST', headers, body });
        expect(response.status).toBe(status);
      }
      expect(seen).toEqual(['SyntaxError']);
    },
  );

  it('X15: what a fetch handler rejects with reaches what called it', async () => {
    const { verifier, signer } = parties();
    const handler = fetchAdapter.withSignature(
      async () => Promise.reject(new Error('a bug')),
      verifier,
    );
    const { headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
    await expect(handler(new Request('https://api.test/', { headers }))).rejects.toThrow('a bug');
    const receive = fetchAdapter.withCallback(
      async () => Promise.reject(new Error('a bug')),
      receiver,
    );
    const request = new Request('https://api.test/', {
      method: 'POST',
      headers: signCallback('{}', { secrets: [SECRET] }),
      body: '{}',
    });
    await expect(receive(request)).rejects.toThrow('a bug');
  });
});
