import { MemoryNonceStore, type NonceStore } from '@countersign/server';
import {
  type CallbackRefusal,
  type CallbackVerifierOptions,
  createCallbackVerifier,
  githubWebhooks,
} from '@countersign/server/callbacks';
import { RedisNonceStore } from '@countersign/server/redis';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { NOW, newSecret, signCallback } from './callbacks-sender.ts';

const SECRET = newSecret();
const clock = () => NOW;

function verifierOf(options: Partial<CallbackVerifierOptions> = {}) {
  return createCallbackVerifier({ secrets: [SECRET], clock, ...options });
}

function nonces(): NonceStore {
  return new MemoryNonceStore({ clock, bornAt: 0 });
}

describe('createCallbackVerifier()', () => {
  it('returns the callback, and its body as bytes and as text', async () => {
    const body = Buffer.from('{"ä":1}');
    const callback = await verifierOf({ sender: 'video-api' }).verify({
      headers: signCallback(body, { secrets: [SECRET] }),
      body,
    });
    expect(callback).toMatchObject({
      id: 'msg_1',
      signedAt: NOW,
      scheme: 'standard-webhooks',
      sender: 'video-api',
    });
    expect(callback.body).toEqual(body);
    expect(callback.text()).toBe('{"ä":1}');
  });

  it('tells the bodies ff and fe apart, and does not make text of them', async () => {
    const headers = signCallback(Uint8Array.of(0xff), { secrets: [SECRET] });
    const verifier = verifierOf();
    const callback = await verifier.verify({ headers, body: Uint8Array.of(0xff) });
    expect(() => callback.text()).toThrow('not valid for encoding utf-8');
    await expect(verifier.verify({ headers, body: Uint8Array.of(0xfe) })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISMATCH',
    });
  });

  it('accepts both secrets of a rotation, and no earlier secret', async () => {
    const [old, next] = [newSecret(), newSecret()];
    const verifier = verifierOf({ secrets: [next, old] });
    for (const secrets of [[old], [next], [old, next], [newSecret(), old]]) {
      const headers = signCallback('x', { secrets });
      expect((await verifier.verify({ headers, body: 'x' })).id).toBe('msg_1');
    }
    const headers = signCallback('x', { secrets: [newSecret()] });
    await expect(verifier.verify({ headers, body: 'x' })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISMATCH',
    });
  });

  it('asks a function for the current secrets', async () => {
    let secrets: unknown = [newSecret()];
    const verifier = verifierOf({ secrets: async () => secrets as string[] });
    const headers = signCallback('x', { secrets: [SECRET] });
    const verify = () => verifier.verify({ headers, body: 'x' });
    await expect(verify()).rejects.toMatchObject({ code: 'ERR_SIGNATURE_MISMATCH' });
    secrets = [SECRET];
    expect((await verify()).id).toBe('msg_1');
    for (const wrong of [undefined, [], SECRET, ['whsec_AAAA'], Array(17).fill(SECRET)]) {
      secrets = wrong;
      const error = await verify().catch((it) => it);
      expect(error).toMatchObject({ code: 'ERR_KEY_STORE_FAILED', status: 503, retryAfter: 1 });
      expect(error.message).not.toContain(SECRET.slice(6));
    }
  });

  it.each([
    [NOW - 300, undefined],
    [NOW - 301, 'ERR_SIGNATURE_EXPIRED'],
    [NOW + 300, undefined],
    [NOW + 301, 'ERR_SIGNATURE_NOT_YET_VALID'],
    [0, 'ERR_SIGNATURE_EXPIRED'],
  ])('checks the window on both sides: %d', async (signedAt, code) => {
    const headers = signCallback('x', { secrets: [SECRET], signedAt });
    const outcome = await verifierOf()
      .verify({ headers, body: 'x' })
      .then(
        () => undefined,
        (error) => error.code,
      );
    expect(outcome).toBe(code);
  });

  it('refuses if its own clock returns no number', async () => {
    const headers = signCallback('x', { secrets: [SECRET] });
    let now = NOW;
    const verifier = verifierOf({ clock: () => now });
    now = Number.NaN;
    await expect(verifier.verify({ headers, body: 'x' })).rejects.toThrow(
      'Cannot tell the time: what the clock returned is NaN, expected Unix seconds',
    );
  });

  it('refuses a callback that became stale while its body arrived', async () => {
    let now = NOW;
    const headers = signCallback('x', { secrets: [SECRET] });
    const body = {
      bytes: () => {
        now += 301;
        return Buffer.from('x');
      },
    };
    await expect(verifierOf({ clock: () => now }).verify({ headers, body })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_EXPIRED',
    });
  });

  it('reads a body only if headers and window are right, and claims only if the signature is right', async () => {
    const seen: string[] = [];
    const store = nonces();
    const verifier = verifierOf({
      nonces: {
        claim: (claim) => {
          seen.push('claim');
          return store.claim(claim);
        },
      },
    });
    const body = {
      bytes: () => {
        seen.push('body');
        return Buffer.from('x');
      },
    };
    const good = signCallback('x', { secrets: [SECRET] });
    const stale = signCallback('x', { secrets: [SECRET], signedAt: NOW - 301 });
    const forged = signCallback('x', { secrets: [newSecret()] });
    const cases: [Record<string, string>, string[]][] = [
      [{}, []],
      [{ ...good, 'webhook-id': 'a.b' }, []],
      [stale, []],
      [forged, ['body']],
      [good, ['body', 'claim']],
    ];
    for (const [headers, expected] of cases) {
      seen.length = 0;
      await verifier.verify({ headers, body }).catch(() => undefined);
      expect(seen).toEqual(expected);
    }
  });

  it('refuses parsed bodies: serialized again, they have other bytes', async () => {
    const headers = signCallback('{}', { secrets: [SECRET] });
    await expect(verifierOf().verify({ headers, body: {} as unknown as string })).rejects.toThrow(
      'Cannot verify callback: expected its body as bytes or text, as it came over the wire',
    );
  });

  it('reports refusals without a secret or signature, and survives an error of the hook', async () => {
    const told: CallbackRefusal[] = [];
    const warned = new Promise((resolve) => process.once('warning', resolve));
    const verifier = verifierOf({
      onRefused: (refusal) => {
        told.push(refusal);
        throw new Error('the log is full');
      },
    });
    const headers = signCallback('x', { secrets: [SECRET] });
    await expect(verifier.verify({ headers, body: 'y' })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISMATCH',
    });
    expect(told).toMatchObject([{ code: 'ERR_SIGNATURE_MISMATCH', id: 'msg_1', signedAt: NOW }]);
    expect(JSON.stringify(told)).not.toContain(headers['webhook-signature']?.slice(3, 20));
    expect(await warned).toMatchObject({ code: 'COUNTERSIGN_ON_REFUSED' });
  });

  it.each<[object, string, RegExp]>([
    [{ secrets: [] }, 'TypeError', /option "secrets" is of type array: /],
    [{ secrets: SECRET }, 'TypeError', /option "secrets" is of type string: /],
    [{ secrets: ['whsec_AAAA'] }, 'TypeError', /^Cannot read callback key: it has 3 bytes, /],
    [{ secrets: [newSecret(), 42] }, 'TypeError', /option "secrets" is of type array: /],
    [{ secrets: Array(17).fill(SECRET) }, 'TypeError', /option "secrets" is of type array: /],
    [{ window: Number.NaN }, 'TypeError', /option "window" is NaN: /],
    [{ window: 0 }, 'RangeError', /option "window" is 0: /],
    [{ ahead: -1 }, 'RangeError', /option "ahead" is -1: /],
    [{ sender: 'a\nb' }, 'TypeError', /option "sender" is "a\\nb": /],
    [{ scheme: {} }, 'TypeError', /option "scheme" is of type object: /],
    [{ tolerance: 5 }, 'TypeError', /unknown option "tolerance"/],
    [
      { scheme: githubWebhooks(), secrets: ['9Zq2vT7xLw4Rk8Nf'], nonces: nonces() },
      'TypeError',
      /option "nonces" does not go with github-webhooks, which signs no time/,
    ],
  ])('refuses options %#, without showing a secret', (options, name, why) => {
    let error: unknown;
    try {
      verifierOf(options);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ name, message: expect.stringMatching(why) });
    expect((error as Error).message).not.toContain(SECRET.slice(6));
  });
});

const stores: [string, () => Promise<{ store: NonceStore; now: () => number }>][] = [
  ['memory', async () => ({ store: nonces(), now: clock })],
  [
    'Redis',
    async () => {
      const redis = new Redis(inject('redisUrl'));
      const store = new RedisNonceStore({ redis, prefix: `callbacks-${Math.random()}` });
      onTestFinished(() => {
        redis.disconnect();
        return store.close();
      });
      await store.ready();
      return { store, now: () => Math.floor(Date.now() / 1000) };
    },
  ],
];

describe.each(stores)('replays, with nonces in %s', (_, make) => {
  /**
   * A verifier with a store that started long enough ago, so it can vouch for callbacks signed now.
   */
  async function ready(options: Partial<CallbackVerifierOptions> = {}) {
    const { store, now } = await make();
    const epoch = await store
      .claim({
        accessKeyId: 'x',
        audience: 'x',
        nonce: 'x',
        signedAt: now(),
        acceptableFrom: now(),
        acceptableUntil: now() + 60,
      })
      .then((it) => it.epoch);
    // Requests echo the epoch of the store. Callbacks cannot, so this adds it for them.
    const nonceStore: NonceStore = { claim: (claim) => store.claim({ ...claim, epoch }) };
    const verifier = verifierOf({ clock: now, nonces: nonceStore, ...options });
    return { verifier, now };
  }

  it('are refused by signature, while an honest retry is accepted', async () => {
    const { verifier, now } = await ready();
    const first = signCallback('x', { secrets: [SECRET], signedAt: now() - 1 });
    const retry = signCallback('x', { secrets: [SECRET], signedAt: now() });
    expect((await verifier.verify({ headers: first, body: 'x' })).id).toBe('msg_1');
    await expect(verifier.verify({ headers: first, body: 'x' })).rejects.toMatchObject({
      code: 'ERR_NONCE_REUSED',
    });
    expect((await verifier.verify({ headers: retry, body: 'x' })).id).toBe('msg_1');
  });

  it('are refused with a part of the signatures of a rotation, or in another order', async () => {
    const old = newSecret();
    const { verifier, now } = await ready({ secrets: [SECRET, old] });
    const headers = signCallback('x', { secrets: [SECRET, old], signedAt: now() });
    const signatures = headers['webhook-signature']?.split(' ') ?? [];
    await verifier.verify({ headers, body: 'x' });
    for (const kept of [[...signatures].reverse(), signatures.slice(0, 1), signatures.slice(1)]) {
      const copy = { ...headers, 'webhook-signature': kept.join(' ') };
      await expect(verifier.verify({ headers: copy, body: 'x' })).rejects.toMatchObject({
        code: 'ERR_NONCE_REUSED',
      });
    }
  });

  it('are claimed by one of many at once', async () => {
    const { verifier, now } = await ready();
    const headers = signCallback('x', { secrets: [SECRET], signedAt: now() });
    const settled = await Promise.allSettled(
      Array.from({ length: 20 }, () => verifier.verify({ headers, body: 'x' })),
    );
    expect(settled.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});

describe('nonces', () => {
  it('that have just started are answered with 503 and a time to retry, and the retry is accepted', async () => {
    let now = NOW;
    const store = new MemoryNonceStore({ clock: () => now });
    const verifier = verifierOf({ clock: () => now, nonces: store });
    const headers = signCallback('x', { secrets: [SECRET], signedAt: now });
    const error = await verifier.verify({ headers, body: 'x' }).catch((it) => it);
    expect(error).toMatchObject({ code: 'ERR_NONCE_STORE_FAILED', status: 503 });
    expect(error.retryAfter).toBeGreaterThanOrEqual(1);
    expect(error.retryAfter).toBeLessThanOrEqual(10);
    now += error.retryAfter;
    const retry = signCallback('x', { secrets: [SECRET], signedAt: now });
    expect((await verifier.verify({ headers: retry, body: 'x' })).id).toBe('msg_1');
  });

  it('that two senders share are kept apart', async () => {
    const store = nonces();
    const headers = signCallback('x', { secrets: [SECRET] });
    for (const sender of ['one', 'two']) {
      const verifier = verifierOf({ sender, nonces: store });
      expect((await verifier.verify({ headers, body: 'x' })).sender).toBe(sender);
    }
  });

  it.each([
    ['reject', () => Promise.reject(new Error('gone'))],
    ['answer nothing', async () => undefined as never],
    ['answer anything', async () => ({ outcome: 'fine', epoch: 'x' }) as never],
    ['are uncertain without an end', async () => ({ outcome: 'uncertain', epoch: 'x' }) as never],
  ])('that %s are answered with 503', async (_, claim) => {
    const headers = signCallback('x', { secrets: [SECRET] });
    await expect(
      verifierOf({ nonces: { claim } }).verify({ headers, body: 'x' }),
    ).rejects.toMatchObject({ code: 'ERR_NONCE_STORE_FAILED', status: 503, retryAfter: 1 });
  });
});
