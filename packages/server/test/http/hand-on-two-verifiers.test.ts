// Two verifiers in a row. The second one gets the same body as the first one, or refuses because it
// cannot.

import { createCallbackVerifier } from '@countersign/server/callbacks';
import { keepRawBody, requireCallback, requireSignature } from '@countersign/server/express';
import { refusalResponse, verifyRequest, withCallback } from '@countersign/server/fetch';
import { createAdaptorServer } from '@hono/node-server';
import type { RequestHandler } from 'express';
import { describe, expect, it } from 'vitest';
import { until } from '../../../../test/support/deadline.ts';
import { NOW, newSecret, signCallback } from '../callbacks/receive/callbacks-sender.ts';
import { FRAMEWORKS, MODES, STORES, type Store, slowDown, turns } from './hand-on-support.ts';
import { headOf, listen, type Parties, parties, RawClient } from './sockets.ts';

const SECRET = newSecret();
const BODY = '{"filter":1}';
const SMALL_AND_LARGE = [BODY, JSON.stringify({ filter: 'x'.repeat(90_000) })];

function callbackVerifier(store: Store, refused: string[] = []) {
  return createCallbackVerifier({
    secrets: async () => {
      if (store === 'slow') await turns();
      return [SECRET];
    },
    clock: () => NOW,
    onRefused: ({ code }) => void refused.push(code),
  });
}

/** The head of a signed request, and a callback whose signature covers its content. */
async function signedTwice({ signer }: Parties, origin: string, body: string, called = body) {
  const signed = await signer.sign({
    method: 'POST',
    url: `${origin}/`,
    headers: { 'content-type': 'application/json' },
    body,
  });
  const callback = signCallback(called, { secrets: [SECRET] });
  return headOf(signed, { ...callback, 'content-length': body.length });
}

describe.each(STORES)('a client that closes its side behind a request, a store: %s', (store) => {
  for (const [name, framework] of FRAMEWORKS)
    it(`is answered below requireSignature() and requireCallback(), ${name}`, async () => {
      for (const body of SMALL_AND_LARGE) {
        const those = parties();
        if (store === 'slow') slowDown(those);
        const app = framework();
        app.use(requireSignature(those.verifier), requireCallback(callbackVerifier(store)));
        app.use(framework.json(), (req, res) => void res.json(req.body));
        const { origin, port } = await listen(app);
        const client = new RawClient(port);
        client.write((await signedTwice(those, origin, body)) + body);
        client.socket.end();
        expect(await client.answer()).toMatchObject({ status: 200, body });
      }
    });

  it.each(['with its bindings', 'without its bindings'])(
    'is answered by verifyRequest() and withCallback() in turn, %s',
    async (how) => {
      for (const body of SMALL_AND_LARGE) {
        const those = parties();
        if (store === 'slow') slowDown(those);
        const receive = withCallback(
          async (request, _callback, ..._rest: unknown[]) => new Response(await request.text()),
          callbackVerifier(store),
        );
        const handle = async (received: Request, bindings: unknown) => {
          try {
            const { request } = await verifyRequest(those.verifier, received);
            return await receive(request, ...(how === 'with its bindings' ? [bindings] : []));
          } catch (error) {
            return refusalResponse(error, those.verifier);
          }
        };
        const { origin, port } = await listen(createAdaptorServer({ fetch: handle }) as never);
        const client = new RawClient(port);
        client.write((await signedTwice(those, origin, body)) + body);
        client.socket.end();
        expect(await client.answer()).toMatchObject({ status: 200, body });
      }
    },
  );
});

describe.each(FRAMEWORKS)('requireCallback() below requireSignature(), %s', (_, framework) => {
  /**
   * Serves them with handlers between, and sends a request. Its second piece comes after the server
   * has seen the first.
   */
  async function answerTo({
    mode,
    between,
    body = BODY,
    called = body,
    pieces,
  }: {
    mode: (typeof MODES)[number];
    between: RequestHandler[];
    body?: string;
    called?: string;
    pieces: number;
  }) {
    const those = parties();
    const refused: string[] = [];
    const app = framework();
    let isThere = false;
    app.use((_req, _res, next) => {
      isThere = true;
      next();
    });
    app.use(requireSignature(those.verifier, { body: mode }), ...between);
    app.use(requireCallback(callbackVerifier('memory', refused)), framework.json());
    app.use((req, res) => void res.json(req.body));
    const { origin, port } = await listen(app);
    const head = await signedTwice(those, origin, body, called);
    const client = new RawClient(port);
    client.write(head + body.slice(0, pieces === 1 ? undefined : 5));
    await until(() => isThere, 'the request arrives');
    await turns();
    if (pieces > 1) client.write(body.slice(5));
    const answer = await client.answer();
    return { ...answer, refused };
  }

  const both = [1, 2].flatMap((pieces) => MODES.map((mode) => [mode, pieces] as const));

  it.each(both)('accepts an honest body, %s, in pieces: %i', async (mode, pieces) => {
    const answer = await answerTo({ mode, between: [], pieces });
    expect(answer).toMatchObject({ status: 200, body: BODY, refused: [] });
  });

  it.each(both)('accepts a body whose parser kept it, %s, in pieces: %i', async (mode, pieces) => {
    const keepers = [
      keepRawBody,
      (req: object, _res: unknown, rawBody: Buffer) => void Object.assign(req, { rawBody }),
    ];
    for (const verify of keepers) {
      const between = [framework.json({ verify })];
      const answer = await answerTo({ mode, between, pieces });
      expect(answer).toMatchObject({ status: 200, body: BODY, refused: [] });
    }
  });

  it.each(both)(
    'takes no parsed body for an empty one, %s, in pieces: %i',
    async (mode, pieces) => {
      const between = [framework.json()];
      const { status, refused } = await answerTo({ mode, between, called: '', pieces });
      // Bytes that came at once are known. Bytes that came later were parsed and are gone.
      const isKnown = mode === 'buffer' || pieces === 1;
      expect([status, refused]).toEqual(
        isKnown ? [401, ['ERR_SIGNATURE_MISMATCH']] : [500, ['ERR_BODY_CONSUMED']],
      );
    },
  );
});
