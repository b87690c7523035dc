// For how long a request or callback can be accepted, with a store that refuses what it is told is
// stale or early; and for how long its nonce is remembered: as long.

import { MemoryNonceStore, type NonceClaim, type NonceStore } from '@countersign/server';
import { createCallbackVerifier, standardWebhooks } from '@countersign/server/callbacks';
import { isAudience } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { createApi, NOW, outcome, type Received } from '../../../../test/support/api.ts';
import { newSecret, signCallback } from '../callbacks/receive/callbacks-sender.ts';

interface Accepting {
  /** The code of the refusal at a time, or `accepted`. */
  verify(signed: Received, now: number): Promise<string>;
  sign(): Promise<Received>;
  /**
   * Seconds from its signature until it is refused, and before its signature from when on it is
   * accepted.
   */
  readonly window: number;
  readonly ahead: number;
  readonly claims: readonly NonceClaim[];
}

/** A store that was always there, and what is claimed of it. */
function watchedStore(clock: () => number): { nonces: NonceStore; claims: NonceClaim[] } {
  const store = new MemoryNonceStore({ clock, bornAt: 0 });
  const claims: NonceClaim[] = [];
  const nonces: NonceStore = {
    claim(claim) {
      claims.push(claim);
      return store.claim(claim);
    },
  };
  return { nonces, claims };
}

function requests(window: number | undefined, ahead: number | undefined): Accepting {
  let now = NOW;
  const clock = () => now;
  const { nonces, claims } = watchedStore(clock);
  const { verifier, sign } = createApi({ clock, nonces, window, ahead });
  return {
    claims,
    window: window ?? 120,
    ahead: ahead ?? 5,
    sign,
    verify: (signed, at) => {
      now = at;
      return outcome(verifier, signed);
    },
  };
}

function presignedUrls(window: number, expiresIn: number): Accepting {
  let now = NOW;
  const clock = () => now;
  const { nonces, claims } = watchedStore(clock);
  const { verifier, presign } = createApi({ clock, nonces, window, presignedUrls: 'once' });
  return {
    claims,
    window: expiresIn,
    ahead: 5,
    sign: () => presign(expiresIn),
    verify: (signed, at) => {
      now = at;
      return outcome(verifier, signed);
    },
  };
}

function callbacks(window: number | undefined, ahead: number | undefined): Accepting {
  let now = NOW;
  const clock = () => now;
  const secret = newSecret();
  const { nonces, claims } = watchedStore(clock);
  const verifier = createCallbackVerifier({ secrets: [secret], clock, nonces, window, ahead });
  return {
    claims,
    window: window ?? 300,
    ahead: ahead ?? 5,
    sign: async () => {
      const headers = Object.entries(signCallback('{}', { secrets: [secret], signedAt: NOW }));
      return { method: 'POST', url: '/', headers, body: Buffer.from('{}') };
    },
    verify: ({ headers, body }, at) => {
      now = at;
      return verifier.verify({ headers, body }).then(
        () => 'accepted',
        ({ code }) => code,
      );
    },
  };
}

describe.each<[string, () => Accepting]>([
  ['a request', () => requests(undefined, undefined)],
  ['a request with a short window', () => requests(30, 60)],
  ['a request with a long window', () => requests(3_600, 0)],
  ['a presigned URL that works once, for longer than a request', () => presignedUrls(120, 600)],
  ['a presigned URL that works once, for less long', () => presignedUrls(120, 10)],
  ['a presigned URL that works once, as long as may be', () => presignedUrls(120, 3_600)],
  ['a callback', () => callbacks(undefined, undefined)],
  ['a callback with a short window', () => callbacks(10, 5)],
  ['a callback that may be dated far ahead', () => callbacks(300, 300)],
])('%s', (_, make) => {
  it('is accepted at any time from when it may be dated until its end, and at no other', async () => {
    const { window, ahead } = make();
    const middle = [1, 6, 11, 61, 121, 301].filter((age) => age < window);
    for (const age of [-ahead, 0, ...middle, window - 1, window]) {
      const { sign, verify } = make();
      expect(await verify(await sign(), NOW + age), `${age} s old`).toBe('accepted');
    }
    for (const [age, code] of [
      [-ahead - 1, 'ERR_SIGNATURE_NOT_YET_VALID'],
      [window + 1, 'ERR_SIGNATURE_EXPIRED'],
    ] as const) {
      const { sign, verify } = make();
      expect(await verify(await sign(), NOW + age), `${age} s old`).toBe(code);
    }
  });

  it('tells the store exactly that', async () => {
    const { sign, verify, claims, window, ahead } = make();
    await verify(await sign(), NOW);
    expect(claims).toMatchObject([
      { signedAt: NOW, acceptableFrom: NOW - ahead, acceptableUntil: NOW + window },
    ]);
  });

  it('is refused a second time until its end', async () => {
    const { sign, verify, window, ahead } = make();
    const signed = await sign();
    expect(await verify(signed, NOW - ahead)).toBe('accepted');
    for (let age = -ahead; age <= window; age += 1)
      expect(await verify(signed, NOW + age), `${age} s old`).toBe('ERR_NONCE_REUSED');
    expect(await verify(signed, NOW + window + 1)).toBe('ERR_SIGNATURE_EXPIRED');
  });
});

describe('nonces of callbacks', () => {
  it('are in no audience that a request can be for, and those of each sender and form apart', async () => {
    const secret = newSecret();
    const claimed: NonceClaim[] = [];
    const nonces: NonceStore = {
      claim: async (claim) => {
        claimed.push(claim);
        return { outcome: 'claimed', epoch: 'epoch' };
      },
    };
    const scheme = standardWebhooks();
    const headers = signCallback('{}', { secrets: [secret], signedAt: NOW });
    for (const options of [{}, { sender: 'billing' }, { scheme: { ...scheme, name: 'other' } }])
      await createCallbackVerifier({
        secrets: [secret],
        clock: () => NOW,
        nonces,
        ...options,
      }).verify({ headers, body: '{}' });
    expect(claimed.map(({ audience, accessKeyId }) => [audience, accessKeyId])).toEqual([
      ['callback/standard-webhooks', 'standard-webhooks'],
      ['callback/standard-webhooks', 'billing'],
      ['callback/other', 'other'],
    ]);
    for (const { audience, nonce } of claimed) {
      expect(isAudience(audience)).toBe(false);
      expect(nonce).toMatch(/^[\w-]{22}$/);
    }
    expect(new Set(claimed.map(({ nonce }) => nonce)).size).toBe(1);
  });
});
