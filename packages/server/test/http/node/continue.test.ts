import { once } from 'node:events';
import { createServer, type RequestListener, request } from 'node:http';
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2';
import type { SignedRequest } from '@countersign/client';
import { requireCallback, requireSignature } from '@countersign/server/express';
import { continueWhenVerified, withSignature } from '@countersign/server/node';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  NOW as CALLBACK_TIME,
  newSecret,
  signCallback,
} from '../../callbacks/receive/callbacks-sender.ts';
import { FRAMEWORKS, gate, MODES, slowDown, turns } from '../hand-on-support.ts';
import { bodyOf, headOf, listen, listenOn, parties, RawClient, stranger } from '../sockets.ts';

const STRANGER = 'POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n';

/** A server whose clients are invited by `listener`. */
function serve(listener: RequestListener) {
  const server = createServer(listener);
  server.on('checkContinue', continueWhenVerified(listener));
  return listen(server);
}

const waiting = (signed: SignedRequest): string =>
  headOf(signed, { expect: '100-continue', 'content-length': bodyOf(signed).length });

describe.each(FRAMEWORKS)('continueWhenVerified() for %s', (_, framework) => {
  function guarded(mode: (typeof MODES)[number]) {
    const those = parties();
    const app = framework();
    // This route is not guarded.
    app.post('/open', framework.json(), (req, res) => void res.json({ open: req.body }));
    app.post('/unread', (_req, res) => void res.send('unread'));
    app.use(requireSignature(those.verifier, { body: mode, limit: 1_000 }), framework.json());
    app.post('/', (req, res) => void res.json(req.body));
    return { ...those, app };
  }

  describe.each(MODES)('that passes bodies on by %s', (mode) => {
    it('invites a body once everything else is verified', async () => {
      const { app, signer } = guarded(mode);
      const { origin, port } = await serve(app);
      const client = new RawClient(port);
      // Both requests use one connection, because it is kept open.
      for (const body of [{ patient: 1 }, { patient: 2 }]) {
        const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body });
        client.write(waiting(signed));
        expect((await client.answer()).status).toBe(100);
        expect(client.received).toBe('');
        client.write(bodyOf(signed));
        const answer = await client.answer();
        expect(answer).toMatchObject({ status: 200, body: JSON.stringify(body) });
        expect(answer.headers['connection']).not.toBe('close');
      }
    });

    it('refuses a stranger without an invitation, and reads no request from the body', async () => {
      const { app, signer, refused } = guarded(mode);
      const { origin, port } = await serve(app);
      const foreign = await stranger().sign({ method: 'POST', url: `${origin}/`, body: 'hello' });
      for (const head of [STRANGER, waiting(foreign)]) {
        const client = new RawClient(port);
        client.write(head);
        const answer = await client.answer();
        expect(answer).toMatchObject({ status: 401, headers: { connection: 'close' } });
        const inside = await signer.sign({ method: 'POST', url: `${origin}/`, body: {} });
        client.write(waiting(inside));
        client.socket.end();
        await client.closed;
        expect(client.received).toBe('');
      }
      expect(refused.map(({ code }) => code)).toEqual(['ERR_SIGNATURE_MISSING', 'ERR_KEY_UNKNOWN']);
    });

    it('does not invite a stranger who has begun to send', async () => {
      const those = guarded(mode);
      const asked = gate();
      const find = those.keys.find.bind(those.keys);
      those.keys.find = async (id) => {
        asked.open();
        await turns(50);
        return find(id);
      };
      const { origin, port } = await serve(those.app);
      const foreign = await stranger().sign({ method: 'POST', url: `${origin}/`, body: 'hello' });
      const client = new RawClient(port);
      client.write(`${waiting(foreign)}he`);
      await asked.opened;
      client.write('ll');
      expect((await client.answer()).status).toBe(401);
      client.write('o');
      await client.closed;
      expect(client.received).toBe('');
    });

    it('invites the rest of a body that has begun to arrive, once everything else is verified', async () => {
      const those = guarded(mode);
      slowDown(those);
      const { origin, port } = await serve(those.app);
      const signed = await those.signer.sign({ method: 'POST', url: `${origin}/`, body: [1, 2] });
      const client = new RawClient(port);
      client.write(`${waiting(signed)}[1`);
      expect((await client.answer()).status).toBe(100);
      client.write(',2]');
      expect(await client.answer()).toMatchObject({ status: 200, body: '[1,2]' });
    });

    it('accepts a body that comes without an invitation', async () => {
      const those = guarded(mode);
      slowDown(those);
      const { origin, port } = await serve(those.app);
      for (const pieces of [1, 2]) {
        const body = { text: 'x'.repeat(500) };
        const signed = await those.signer.sign({ method: 'POST', url: `${origin}/`, body });
        const client = new RawClient(port);
        const bytes = Buffer.from(bodyOf(signed));
        const first = Math.ceil(bytes.length / pieces);
        client.write(Buffer.concat([Buffer.from(waiting(signed)), bytes.subarray(0, first)]));
        await turns();
        if (pieces > 1) client.write(bytes.subarray(first));
        let answer = await client.answer();
        // When the first bytes are taken, the server may invite the others.
        if (answer.status === 100) answer = await client.answer();
        expect(answer).toMatchObject({ status: 200, body: JSON.stringify(body) });
      }
    });
  });

  it('does not invite a body that is too long', async () => {
    const { app, signer } = guarded('buffer');
    const { origin, port } = await serve(app);
    const body = 'x'.repeat(1_001);
    const client = new RawClient(port);
    client.write(waiting(await signer.sign({ method: 'POST', url: `${origin}/`, body })));
    const answer = await client.answer();
    expect(answer).toMatchObject({ status: 413, headers: { connection: 'close' } });
  });

  it('invites bodies for routes that are not guarded, when they read', async () => {
    const { app } = guarded('buffer');
    const { port } = await serve(app);
    const client = new RawClient(port);
    const head = (path: string): string =>
      STRANGER.replace('/', path).replace('host', 'content-type: application/json\r\nhost');
    client.write(head('/open'));
    expect((await client.answer()).status).toBe(100);
    client.write('[1,2]');
    expect((await client.answer()).body).toBe('{"open":[1,2]}');
    client.write(head('/unread'));
    // The client may now send the body or another request, so the connection ends.
    expect(await client.answer()).toMatchObject({
      status: 200,
      headers: { connection: 'close' },
      body: 'unread',
    });
    await client.closed;
    expect(client.received).toBe('');
  });

  it('invites the body of a callback once its route reads it', async () => {
    const secret = newSecret();
    const app = framework();
    const options = { secrets: [secret], clock: () => CALLBACK_TIME };
    app.post('/', requireCallback(options), framework.json(), (req, res) => {
      res.json(req.body);
    });
    const { origin, port } = await serve(app);
    const body = Buffer.from('{"id":7}');
    const headers = {
      ...signCallback(body, { secrets: [secret] }),
      'content-type': 'application/json',
    };
    const client = new RawClient(port);
    client.write(waiting({ method: 'POST', url: `${origin}/`, headers, body }));
    expect((await client.answer()).status).toBe(100);
    client.write(body);
    expect(await client.answer()).toMatchObject({ status: 200, body: '{"id":7}' });
  });
});

describe('continueWhenVerified()', () => {
  const echo = withSignature.bind(undefined, async (req, res) => {
    let text = '';
    for await (const chunk of req) text += chunk;
    res.end(text);
  });

  it('lets a client of node:http wait', async () => {
    const { verifier, signer } = parties();
    const { origin } = await serve(echo(verifier));
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'patient' });
    const req = request(signed.url, {
      method: 'POST',
      headers: { ...signed.headers, expect: '100-continue', 'content-length': 7 },
    });
    req.flushHeaders();
    await once(req, 'continue');
    req.end(signed.body);
    const [res] = await once(req, 'response');
    let text = '';
    for await (const chunk of res) text += chunk;
    expect([res.statusCode, text]).toEqual([200, 'patient']);
  });

  it('tells a client of node:http why it need not send', async () => {
    const { verifier } = parties();
    const { origin } = await serve(echo(verifier));
    const req = request(`${origin}/`, {
      method: 'POST',
      headers: { expect: '100-continue', 'content-length': 7 },
    });
    let invited = false;
    req.on('continue', () => {
      invited = true;
    });
    req.flushHeaders();
    const [res] = await once(req, 'response');
    res.resume();
    await once(res, 'end');
    expect([res.statusCode, invited]).toEqual([401, false]);
    req.destroy();
  });

  it('invites no body for a replay', async () => {
    for (const mode of MODES) {
      const { verifier, signer } = parties();
      const { origin, port } = await serve(echo(verifier, { body: mode }));
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'once' });
      const statuses: number[] = [];
      for (let round = 0; round < 2; round++) {
        const client = new RawClient(port);
        client.write(waiting(signed));
        const answer = await client.answer();
        statuses.push(answer.status);
        if (answer.status !== 100) continue;
        client.write(bodyOf(signed));
        statuses.push((await client.answer()).status);
      }
      // The body is verified before the nonce is claimed, unless it streams.
      expect(statuses).toEqual(mode === 'stream' ? [100, 200, 401] : [100, 200, 100, 401]);
    }
  });

  describe('for HTTP/2', () => {
    type Listener = (req: Http2ServerRequest, res: Http2ServerResponse) => void;

    async function serveHttp2(listener: Listener) {
      const server = createHttp2Server(listener);
      server.on('checkContinue', continueWhenVerified(listener));
      const { origin } = await listenOn(server, () => undefined);
      const session = connectHttp2(origin);
      onTestFinished(() => session.destroy());
      return { origin, session };
    }

    const http2 = (signed: Omit<SignedRequest, 'body'>, length: number) => {
      const { host: _, ...headers } = signed.headers as Record<string, string>;
      return {
        ':method': 'POST',
        ':path': '/',
        expect: '100-continue',
        'content-length': length,
        ...headers,
      };
    };

    it.each(MODES)('invites only a body whose headers are verified: %s', async (mode) => {
      const { verifier, signer } = parties();
      const listener = withSignature<Http2ServerRequest, Http2ServerResponse>(
        async (req, res) => {
          let text = '';
          for await (const chunk of req) text += chunk;
          res.end(text);
        },
        verifier,
        { body: mode },
      );
      const { origin, session } = await serveHttp2(listener);
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'hello' });
      const stream = session.request(http2(signed, 5));
      await once(stream, 'continue');
      stream.end('hello');
      const [headers] = await once(stream, 'response');
      let text = '';
      for await (const chunk of stream.setEncoding('utf8')) text += chunk;
      expect([headers[':status'], text]).toEqual([200, 'hello']);

      const unsigned = session.request(http2({ ...signed, headers: {} }, 5));
      let invited = false;
      unsigned.on('continue', () => {
        invited = true;
      });
      const [refusal] = await once(unsigned, 'response');
      unsigned.resume().on('error', () => undefined);
      expect(refusal[':status']).toBe(401);
      await once(unsigned, 'close');
      expect(invited).toBe(false);
    });

    it('sends no invitation on a stream that is gone', async () => {
      const errors: unknown[] = [];
      const read = gate();
      const { session } = await serveHttp2((req) => {
        req.on('error', (error) => errors.push(error));
        req.stream.on('error', () => undefined);
        req.stream.destroy();
        req.read();
        setImmediate(() => read.open());
      });
      const stream = session.request(http2({ method: 'POST', url: '', headers: {} }, 5));
      stream.on('error', () => undefined);
      await read.opened;
      expect(errors).toEqual([]);
    });
  });

  it('names a listener that is no function', () => {
    expect(() => continueWhenVerified(undefined as never)).toThrow(
      'Cannot build adapter: expected a listener, a function, got undefined',
    );
  });

  it('is needed: without it, Node invites the body before the guard is called', async () => {
    const { verifier } = parties();
    const { port } = await listen(echo(verifier));
    const client = new RawClient(port);
    client.write(STRANGER);
    expect((await client.answer()).status).toBe(100);
    expect((await client.answer()).status).toBe(401);
  });
});
