// Express takes next(undefined) for "go on", and next('route') for "skip the rest of this route".
// An error of the verification, whatever value it is, must not become one of these.

import { MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
import type { CallbackScheme } from '@countersign/server/callbacks';
import {
  handleOnce,
  requireCallback,
  requireSignature,
  sessionEndpoint,
} from '@countersign/server/express';
import type express from 'express';
import type { RequestHandler } from 'express';
import { describe, expect, it } from 'vitest';
import { NOW, newSecret, signCallback } from '../callbacks/receive/callbacks-sender.ts';
import { FRAMEWORKS } from './hand-on-support.ts';
import { AUDIENCE, listen, parties, send } from './sockets.ts';

const THROWN = [undefined, null, false, 0, '', 'route', 'router'];
const SECRET = newSecret();

describe.each(FRAMEWORKS)('what is thrown in %s', (_, framework) => {
  /** Serves handlers above a secret, and returns what came of a request. */
  async function serve(...handlers: RequestHandler[]) {
    const app: ReturnType<typeof express> = framework();
    const passed: unknown[] = [];
    app.all('/secret', ...handlers, (_req, res) => void res.send('SECRET'));
    app.use((_req, res) => void res.send('SECRET'));
    app.use(((error, _req, res, _next) => {
      passed.push(error);
      res.status(500).send('failed');
    }) as express.ErrorRequestHandler);
    const { origin } = await listen(app);
    return { app, passed, url: `${origin}/secret` };
  }

  /** The error handler gets an error, and no other handler answers. */
  async function expectError(
    { passed, url }: Awaited<ReturnType<typeof serve>>,
    init: RequestInit = {},
  ): Promise<void> {
    const response = await fetch(url, init);
    expect([response.status, await response.text()]).toEqual([500, 'failed']);
    expect(passed).toEqual([expect.any(Error)]);
  }

  it.each(THROWN)('by a wrapped verifier lets nothing through: %j', async (it) => {
    const verify = () => Promise.reject(it);
    const verifier = { audience: AUDIENCE, verify, explain: verify };
    for (const body of ['buffer', 'stream'] as const)
      await expectError(await serve(requireSignature(verifier, { body })));
  });

  it.each(THROWN)('by a verifier of callbacks lets nothing through: %j', async (it) => {
    const verifier = { scheme: 's', sender: 'x', verify: () => Promise.reject(it) };
    await expectError(await serve(requireCallback(verifier)), { method: 'POST' });
  });

  it.each(THROWN)('by a clock lets nothing through: %j', async (it) => {
    let isBuilt = false;
    const clock = () => {
      if (isBuilt) throw it;
      return NOW;
    };
    const keys = new MemoryKeyStore([], () => NOW);
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const guard = requireSignature({ audience: AUDIENCE, keys, nonces, clock });
    isBuilt = true;
    await expectError(await serve(guard));
  });

  it.each(THROWN)('by "trust proxy" lets nothing through: %j', async (it) => {
    const served = await serve(requireSignature(parties().verifier));
    served.app.set('trust proxy', () => {
      throw it;
    });
    await expectError(served, { headers: { 'x-forwarded-for': '192.0.2.1' } });
  });

  it.each(THROWN)('by a scheme that reads lets nothing through: %j', async (it) => {
    const scheme: CallbackScheme = {
      name: 'mine',
      time: 'unsigned',
      read() {
        throw it;
      },
      content: () => new Uint8Array(),
      parseKey: () => ({ verify: () => false }),
    };
    await expectError(await serve(requireCallback({ scheme, secrets: [SECRET] })), {
      method: 'POST',
    });
  });

  it.each(THROWN)('by what lends sessions is an error: %j', async (it) => {
    const { verifier, signer } = parties();
    const sessions = { lend: () => Promise.reject(it) } as never;
    const endpoint = sessionEndpoint(sessions, { transport: 'allow-plain-http' });
    const { passed, url } = await serve(requireSignature(verifier), endpoint);
    const answer = await send(await signer.sign({ method: 'POST', url, body: {} }));
    expect(answer).toMatchObject({ status: 500, body: 'failed' });
    expect(passed).toEqual([expect.any(Error)]);
  });

  it.each(THROWN)('by a handler that runs once is an error: %j', async (it) => {
    const guard = requireCallback({ secrets: [SECRET], clock: () => NOW });
    const handler = handleOnce(
      async (_received, handle) => {
        await handle(undefined as never, AbortSignal.abort());
        throw new Error('not reached');
      },
      () => Promise.reject(it),
    );
    const headers = signCallback('{}', { secrets: [SECRET] });
    await expectError(await serve(guard, handler), { method: 'POST', headers, body: '{}' });
  });
});
