// Middleware above the guard listens for the body, as loggers and meters do. It gets each byte
// once, and takes no byte away.

import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import {
  connect,
  createServer as createServer2,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2';
import { Writable } from 'node:stream';
import { requireCallback, requireSignature } from '@countersign/server/express';
import { withSignature } from '@countersign/server/node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { NOW, newSecret, signCallback } from '../callbacks/receive/callbacks-sender.ts';
import { FRAMEWORKS, gate, MODES, STORES, type Store, slowDown, turns } from './hand-on-support.ts';
import { headOf, listen, listenOn, type Parties, parties, RawClient } from './sockets.ts';

const BODY = '{"filter":1}';
const SECRET = newSecret();

type Hearing = (req: IncomingMessage | Http2ServerRequest, heard: string[]) => void;

const LISTENERS: [name: string, hear: Hearing][] = [
  ['a data listener', (req, heard) => void req.on('data', (chunk) => heard.push(String(chunk)))],
  [
    'a pipe',
    (req, heard) => {
      const write = (chunk: Buffer, _: unknown, done: () => void) => {
        heard.push(String(chunk));
        done();
      };
      req.pipe(new Writable({ write }));
    },
  ],
];

const READERS: [name: string, read: (req: IncomingMessage) => Promise<string>][] = [
  [
    'for await',
    async (req) => {
      let text = '';
      for await (const chunk of req) text += String(chunk);
      return text;
    },
  ],
  [
    'the events data and end',
    async (req) => {
      let text = '';
      req.on('data', (chunk) => {
        text += String(chunk);
      });
      await once(req, 'end');
      return text;
    },
  ],
];

function partiesWith(store: Store, options: Parameters<typeof parties>[0] = {}): Parties {
  const those = parties(options);
  if (store === 'slow') slowDown(those);
  return those;
}

/**
 * Sends the body in one packet with the head, and then in its own packet. The handler gets all of
 * it, and the listener gets each byte once.
 */
async function expectHeardOnce(
  { signer }: Parties,
  hear: Hearing,
  listener: RequestListener,
  headers: Record<string, string> = {},
): Promise<void> {
  let heard: string[] = [];
  let come = gate();
  const server = createServer((req, res) => {
    hear(req, heard);
    listener(req, res);
    come.open();
  });
  const { origin, port } = await listen(server);
  for (const packets of [1, 2]) {
    heard = [];
    come = gate();
    const signed = await signer.sign({
      method: 'POST',
      url: `${origin}/`,
      headers: { 'content-type': 'application/json', ...headers },
      body: BODY,
    });
    const callback = signCallback(BODY, { secrets: [SECRET], id: `msg_${packets}` });
    const head = headOf(signed, { ...callback, 'content-length': BODY.length });
    const client = new RawClient(port);
    client.write(packets === 1 ? head + BODY : head);
    await come.opened;
    await turns();
    if (packets === 2) client.write(BODY);
    const { status, body } = await client.answer();
    expect([packets, status, body, heard.join('')]).toEqual([packets, 200, BODY, BODY]);
    client.socket.destroy();
  }
}

describe.each(STORES)('a request that is heard above the guard, with a store: %s', (store) => {
  describe.each(LISTENERS)('by %s', (_, hear) => {
    for (const [name, framework] of FRAMEWORKS) {
      it.each(MODES)(`is parsed whole below requireSignature(), ${name}: %s`, async (body) => {
        const those = partiesWith(store);
        const app = framework();
        app.use(requireSignature(those.verifier, { body }), framework.json());
        app.use((req, res) => void res.json(req.body));
        await expectHeardOnce(those, hear, app);
      });

      it(`is parsed whole below requireCallback(), ${name}`, async () => {
        const secrets = async () => {
          if (store === 'slow') await turns();
          return [SECRET];
        };
        const app = framework();
        app.use(requireCallback({ secrets, clock: () => NOW }), framework.json());
        app.use((req, res) => void res.json(req.body));
        await expectHeardOnce(partiesWith(store), hear, app);
      });

      it.each(MODES)(`is parsed whole if its body is not signed, ${name}: %s`, async (body) => {
        const those = partiesWith(store, { unsignedPayload: 'accept-unsigned-bodies' });
        const app = framework();
        app.use(requireSignature(those.verifier, { body }), framework.json());
        app.use((req, res) => void res.json(req.body));
        await expectHeardOnce(those, hear, app, {
          'x-countersign-content-sha256': 'UNSIGNED-PAYLOAD',
        });
      });
    }

    for (const [name, read] of READERS) {
      it.each(MODES)(`is read whole by a listener with ${name}: %s`, async (body) => {
        const those = partiesWith(store);
        const listener = withSignature(
          async (req, res) => void res.end(await read(req)),
          those.verifier,
          { body },
        );
        await expectHeardOnce(those, hear, listener);
      });

      it.each(MODES)(`is read whole over HTTP/2 with ${name}: %s`, async (body) => {
        const those = partiesWith(store);
        let heard: string[] = [];
        const guarded = withSignature(
          async (req: Http2ServerRequest, res: Http2ServerResponse) =>
            void res.end(await read(req as never)),
          those.verifier,
          { body },
        );
        let come = gate();
        const server = createServer2((req, res) => {
          hear(req, heard);
          guarded(req, res);
          come.open();
        });
        const { origin } = await listenOn(server, () => undefined);
        const client = connect(origin);
        onTestFinished(() => client.destroy());
        for (const packets of [1, 2]) {
          heard = [];
          come = gate();
          const signed = await those.signer.sign({ method: 'POST', url: `${origin}/`, body: BODY });
          const stream = client.request({ ':method': 'POST', ...signed.headers });
          const answer = Promise.all([once(stream, 'response'), stream.toArray()]);
          if (packets === 1) stream.end(BODY);
          await come.opened;
          await turns();
          if (packets === 2) stream.end(BODY);
          const [[{ ':status': status }], chunks] = await answer;
          const text = chunks.join('');
          expect([packets, status, text, heard.join('')]).toEqual([packets, 200, BODY, BODY]);
        }
      });
    }
  });
});

describe('a listener above that comes while the store is asked', () => {
  it.each(FRAMEWORKS)(
    'takes the body, and nothing is handed on without it: %s',
    async (_, framework) => {
      for (const [name, hear] of LISTENERS) {
        const those = parties();
        const heard: string[] = [];
        let ran = 0;
        let late = (): void => undefined;
        slowDown(those, () => late());
        const app = framework();
        app.use((req, _res, next) => {
          late = () => hear(req, heard);
          next();
        });
        app.use(requireSignature(those.verifier), framework.json(), (_req, res) => {
          ran++;
          res.end();
        });
        const { origin, port } = await listen(app);
        const signed = await those.signer.sign({ method: 'POST', url: `${origin}/`, body: BODY });
        const client = new RawClient(port);
        client.write(headOf(signed, { 'content-length': BODY.length }) + BODY);
        expect([name, (await client.answer()).status, ran]).toEqual([name, 500, 0]);
        expect(heard.join('')).toBe(BODY);
      }
    },
  );
});
