// Whatever a listener throws, the client gets an answer, the process goes on, and nothing is left
// of the answer that the listener had begun.

import type { RequestListener } from 'node:http';
import { withCallback, withSignature } from '@countersign/server/node';
import { describe, expect, it } from 'vitest';
import { until } from '../../../../test/support/deadline.ts';
import { NOW, newSecret, signCallback } from '../callbacks/receive/callbacks-sender.ts';
import { MODES, troubles, turns } from './hand-on-support.ts';
import { headOf, listen, parties, RawClient, send } from './sockets.ts';

const SECRET = newSecret();

const UNWRITABLE = Object.create(null);

const THROWN: [name: string, thrown: unknown][] = [
  ['an object without a prototype', UNWRITABLE],
  ['a symbol', Symbol('thrown')],
  ['nothing', undefined],
  ['an error whose stack cannot be read', unreadable()],
  ['an object that cannot be written', { toString: fail }],
];

function fail(): never {
  throw new Error('Cannot be read');
}

function unreadable(): Error {
  return Object.defineProperty(new Error('thrown'), 'stack', { get: fail });
}

/** The outcome of one request, and the process warnings about it. */
async function outcomeOf(guarded: RequestListener, signer = parties().signer) {
  const seen = troubles();
  const { origin } = await listen(guarded);
  const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: '{}' });
  const headers = signCallback('{}', { secrets: [SECRET] });
  const answer = await send(signed, { headers });
  await turns();
  return { ...answer, seen };
}

describe.each(THROWN)('a listener that throws %s', (_, thrown) => {
  const listeners: [string, () => Promise<void>][] = [
    [
      'at once',
      () => {
        throw thrown;
      },
    ],
    [
      'later',
      async () => {
        await turns();
        throw thrown;
      },
    ],
  ];

  it.each(listeners)('%s is answered with 500', async (_when, listener) => {
    for (const body of MODES) {
      const { verifier, signer } = parties();
      const outcome = await outcomeOf(withSignature(listener, verifier, { body }), signer);
      expect(outcome).toMatchObject({ status: 500, seen: ['COUNTERSIGN_LISTENER_FAILED'] });
    }
  });

  it.each(listeners)('%s is answered with 500 below withCallback()', async (_when, listener) => {
    const receiver = { secrets: [SECRET], clock: () => NOW };
    const outcome = await outcomeOf(withCallback(listener, receiver));
    expect(outcome).toMatchObject({ status: 500, seen: ['COUNTERSIGN_LISTENER_FAILED'] });
  });

  it('breaks off an answer that was begun', async () => {
    const seen = troubles();
    const { verifier, signer } = parties();
    const { origin, port } = await listen(
      withSignature((_req, res) => {
        res.write('half');
        throw thrown;
      }, verifier),
    );
    const client = new RawClient(port);
    client.write(headOf(await signer.sign({ method: 'GET', url: `${origin}/` })));
    await client.closed;
    expect(client.received).not.toContain('\r\n0\r\n\r\n');
    await turns();
    expect(seen).toEqual(['COUNTERSIGN_LISTENER_FAILED']);
  });
});

describe('a listener that fails', () => {
  it.each(['not\nfound', 'naïve ✓'])(
    'over the status message %j is answered with 500',
    async (text) => {
      for (const body of MODES) {
        const { verifier, signer } = parties();
        const guarded = withSignature(
          (_req, res) => void res.writeHead(400, text).end(),
          verifier,
          {
            body,
          },
        );
        const outcome = await outcomeOf(guarded, signer);
        expect(outcome).toMatchObject({ status: 500, seen: ['COUNTERSIGN_LISTENER_FAILED'] });
      }
    },
  );

  it('by a then() that rejects, or cannot be read, is answered with 500', async () => {
    const rejecting = (_: unknown, reject: (error: unknown) => void) => reject(UNWRITABLE);
    for (const then of [{ value: rejecting }, { get: fail }]) {
      const returned = Object.defineProperty({}, 'then', then);
      const { verifier, signer } = parties();
      const outcome = await outcomeOf(
        withSignature(() => returned as never, verifier),
        signer,
      );
      expect(outcome).toMatchObject({ status: 500, seen: ['COUNTERSIGN_LISTENER_FAILED'] });
    }
  });

  it('leaves none of the headers that it has set', async () => {
    for (const body of MODES) {
      const { verifier, signer } = parties();
      const guarded = withSignature(
        async (_req, res) => {
          res.setHeader('transfer-encoding', 'chunked');
          res.setHeader('content-encoding', 'gzip');
          res.setHeader('content-type', 'application/json');
          res.setHeader('cache-control', 'public, max-age=99');
          res.setHeader('etag', '"1"');
          res.setHeader('set-cookie', 'session=of-alice');
          throw new Error('Cannot go on');
        },
        verifier,
        { body },
      );
      const { status, headers, body: text } = await outcomeOf(guarded, signer);
      expect([status, text]).toEqual([500, '']);
      expect(Object.keys(headers).sort()).toEqual(['connection', 'content-length', 'date']);
    }
  });
});

describe('a streamed body that is not the signed one', () => {
  it('is answered with 401, framed by nothing that the listener has set', async () => {
    const begun: string[] = [];
    const { verifier, signer } = parties();
    const { origin, port } = await listen(
      withSignature(
        (req, res) => {
          begun.push(String(req.url));
          res.setHeader('transfer-encoding', 'chunked');
          res.setHeader('content-encoding', 'gzip');
          req.on('error', () => undefined).resume();
        },
        verifier,
        { body: 'stream' },
      ),
    );
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'signed' });
    const client = new RawClient(port);
    client.write(`${headOf(signed, { 'content-length': 6 })}for`);
    await until(() => begun.length > 0, 'the handler begins');
    client.write('ged');
    const { status, headers, body } = await client.answer();
    expect(status).toBe(401);
    expect(headers).not.toHaveProperty('transfer-encoding');
    expect(headers).not.toHaveProperty('content-encoding');
    expect(JSON.parse(body)).toMatchObject({ reason: 'body-mismatch' });
    await client.closed;
    expect(client.received).toBe('');
  });
});
