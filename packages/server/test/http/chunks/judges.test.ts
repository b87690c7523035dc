// A mistake in a scheme's judge must not let an unverified body through, and must not end the
// process.

import type { IncomingBody, ReceivedRequest } from '@countersign/server';
import { createVerifier, MemoryNonceStore } from '@countersign/server';
import { type BodyJudge, countersign, type Scheme, SignatureError } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { AUDIENCE, NOW } from '../sockets.ts';
import { ADAPTERS, chunkParties, MODES, plain, post, seal, startServer } from './chunks-support.ts';

type Open = NonNullable<Scheme['openBody']>;
const judgedBy = (judge: unknown): Scheme => ({ ...plain, openBody: () => judge as BodyJudge });

function partiesWith(scheme: Scheme) {
  const all = chunkParties();
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys: all.keys,
    nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
    schemes: [countersign(), scheme],
    clock: () => NOW,
    onRefused: (it) => void all.refused.push(it),
  });
  return { ...all, verifier };
}

const inOrder = (push: BodyJudge['push']): BodyJudge => ({ push, end: () => undefined });
const thrower = (thrown: unknown): BodyJudge => ({
  push() {
    throw thrown;
  },
  end() {
    throw thrown;
  },
});

const wrong: Record<string, unknown> = {
  'throws undefined': thrower(undefined),
  'throws text': thrower('no'),
  'throws null at the end': { push: () => [], end: thrower(null).end },
  'throws an error of its own': thrower(new RangeError('offset')),
  'throws something that cannot be shown': thrower(Object.create(null)),
  'gives no list': inOrder(() => undefined as never),
  'gives text': inOrder(() => 'abc' as never),
  'gives a list of text': inOrder(() => ['abc'] as never),
  'gives a promise': inOrder((async () => []) as never),
  'gives a promise that is rejected': inOrder((async () =>
    Promise.reject(new Error('late'))) as never),
  'ends with a promise': { push: () => [], end: async () => undefined },
  'ends with a promise that is rejected': {
    push: () => [],
    end: async () => Promise.reject(new Error('late')),
  },
  'ends with a verdict': { push: () => [], end: () => false },
  'hands on more than it was given': inOrder((bytes) => [bytes, bytes]),
  'hands on the limit, and more': inOrder(() => [Buffer.alloc(2_000_000)]),
};

const cases = ADAPTERS.flatMap(([name, serve]) =>
  MODES.map((mode) => [name, mode, serve] as const),
);

describe.each(cases)('%s, body: %s: a judge', (name, mode, serve) => {
  it.each(Object.keys(wrong))('that %s refuses the body', async (how) => {
    for (const delivery of ['at once', 'in pieces'] as const) {
      const all = partiesWith(judgedBy(wrong[how]));
      const server = await startServer(serve, all.verifier, { body: mode });
      const answer = await post(name, server.port, await seal(all, server.port, ['a', 'b']), {
        delivery,
      });
      expect(server.handled.every(({ text }) => text === undefined)).toBe(true);
      expect(all.refused.map(({ code }) => code)).toEqual(['ERR_BODY_MISMATCH']);
      if (answer?.status !== 401) expect(answer).toEqual({ status: 200, body: 'failed' });
    }
  });

  it('holds no more than the limit', async () => {
    const all = partiesWith(judgedBy(inOrder(() => [])));
    const server = await startServer(serve, all.verifier, { body: mode, limit: 20_000 });
    const sealed = await seal(all, server.port, Array(30).fill('x'.repeat(1_000)));
    for (const length of [true, false]) {
      all.refused.length = 0;
      const signed = {
        ...sealed,
        ...(await seal(all, server.port, ['a'], { path: `/${length}` })),
      };
      const sent = { ...signed, frames: sealed.frames };
      await post(name, server.port, sent, { delivery: 'in pieces', length });
      expect(all.refused.map(({ code }) => code)).toEqual(['ERR_BODY_TOO_LARGE']);
      expect(server.handled.every(({ text }) => text === undefined)).toBe(true);
    }
  });
});

describe('body: stream', () => {
  it.each(ADAPTERS)(
    '%s takes more than the limit if it is released as it comes',
    async (name, serve) => {
      const all = chunkParties();
      const server = await startServer(serve, all.verifier, { body: 'stream', limit: 2_000 });
      const sealed = await seal(all, server.port, Array(30).fill('x'.repeat(1_000)));
      const answer = await post(name, server.port, sealed, { delivery: 'in pieces' });
      expect(answer).toEqual({ status: 200, body: `read ${'x'.repeat(30_000)}` });
    },
  );
});

describe('verify()', () => {
  const received = async (all: ReturnType<typeof partiesWith>) => {
    const { method, path, headers, frames } = await seal(all, 1, ['a']);
    const request: ReceivedRequest = { method, url: path, headers };
    return { request, wire: Buffer.concat(frames) };
  };

  it.each<[string, Open | undefined]>([
    ['has no form for them', undefined],
    ['cannot verify this one', () => undefined],
    ['answers later', (async () => ({})) as never],
    ['gives no judge', () => ({ push: () => [] }) as never],
  ])('refuses chunks if the scheme %s', async (_, openBody) => {
    const all = partiesWith({ ...plain, openBody } as Scheme);
    const { request, wire } = await received(all);
    const body: IncomingBody = { bytes: () => wire, replace: () => undefined };
    for (const it of [body, undefined, { ...body, stream: () => undefined }]) {
      const error = await all.verifier.verify({ ...request, body: it }).catch((thrown) => thrown);
      expect(error).toMatchObject({ code: 'ERR_COMPONENT_NOT_COVERED' });
      expect(error.message).toContain('the scheme "plain" cannot verify here');
    }
  });

  it('passes on the reason if a body was not opened', async () => {
    const refusal = new SignatureError('ERR_SIGNATURE_MALFORMED', 'no length');
    for (const [thrown, code] of [
      [refusal, 'ERR_SIGNATURE_MALFORMED'],
      [new TypeError('x'), 'ERR_BODY_MISMATCH'],
    ] as const) {
      const openBody = () => {
        throw thrown;
      };
      const all = partiesWith({ ...plain, openBody });
      const { request } = await received(all);
      const error = await all.verifier.verify(request).catch((it) => it);
      expect(error).toMatchObject({ code });
    }
  });

  it('gives the verified bytes to replace(), and refuses bytes that it cannot replace', async () => {
    const all = partiesWith(plain);
    const { request, wire } = await received(all);
    await expect(all.verifier.verify({ ...request, body: wire })).rejects.toMatchObject({
      name: 'TypeError',
      message: expect.stringContaining('give "body" as { bytes, replace }'),
    });
    const stream = () => expect.unreachable('its framing would be handed on');
    await expect(
      all.verifier.verify({ ...request, body: { bytes: () => wire, stream } }),
    ).rejects.toMatchObject({ name: 'TypeError' });
    const replaced: unknown[] = [];
    const body: IncomingBody = {
      bytes: async () => wire,
      replace: (bytes, changes) => void replaced.push([Buffer.from(bytes).toString(), changes]),
    };
    expect(await all.verifier.verify({ ...request, body })).toMatchObject({ bodySigned: true });
    expect(replaced).toEqual([['a', { 'content-encoding': undefined }]]);
    const { components } = await all.verifier.explain({ ...request, body });
    expect(components).toContainEqual({
      component: 'body hash',
      saw: '(signed in chunks)',
      signed: true,
    });
  });

  it('serves others while it judges a large body', async () => {
    const pieces = Array<string>(40).fill('x'.repeat(100_000));
    const all = partiesWith(plain);
    const { method, path, headers, frames } = await seal(all, 1, pieces);
    let turns = 0;
    let isDone = false;
    const count = (): void => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    let length = 0;
    const body: IncomingBody = {
      bytes: () => Buffer.concat(frames),
      replace: (bytes) => {
        length = bytes.length;
      },
    };
    await all.verifier.verify({ method, url: path, headers, body });
    isDone = true;
    expect(length).toBe(4_000_000);
    expect(turns).toBeGreaterThan(2);
  });
});
