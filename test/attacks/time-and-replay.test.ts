import { createHmac } from 'node:crypto';
import { createVerifier, MemoryNonceStore, type NonceStore } from '@countersign/server';
import {
  createCallbackVerifier,
  createOnce,
  githubWebhooks,
  MemoryOnceStore,
  standardWebhooks,
} from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';
import {
  ACCEPTED,
  addHeader,
  createApi,
  expectRefused,
  header,
  NOW,
  outcome,
  retarget,
  withHeader,
  withoutHeader,
} from '../support/api.ts';

describe('time and replay', () => {
  it('T1: freshness is read from the signed date alone', async () => {
    const { sign, verifier } = createApi();
    const old = await sign({}, { clock: () => 1_400_000_000 });
    expect(await outcome(verifier, old)).toBe('ERR_SIGNATURE_EXPIRED');
    expect(
      await outcome(verifier, addHeader(old, 'date', new Date(NOW * 1000).toUTCString())),
    ).toBe('ERR_SIGNATURE_EXPIRED');
    expect(
      await outcome(verifier, withHeader(old, 'x-countersign-date', '20261121T222526Z')),
    ).toMatch(/^ERR_SIGNATURE_M/);
    const undated = withHeader(
      withoutHeader(old, 'x-countersign-date'),
      'date',
      new Date(NOW * 1000).toUTCString(),
    );
    expect(await outcome(verifier, undated)).toBe('ERR_SIGNATURE_MALFORMED');
  });

  it('T2: a time that is not exactly a time is refused', async () => {
    for (const time of [
      '',
      'NaN',
      '-1',
      '1e9',
      '0x10',
      '1795299926',
      ' 20261121T222526',
      '20261121T222526',
      '20261121T222526z',
      '20261121T222526.0Z',
      '20260230T120000Z',
      '20261121T240000Z',
      '20261121T235960Z',
      '20261321T000000Z',
      '20260021T000000Z',
      '100000101T000000Z',
      '2026-11-21T22:25:26Z',
      '+0261121T222526Z',
      '19691231T235959Z',
      '٢٠٢٦١١٢١T٢٢٢٥٢٦Z',
    ]) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(request, 'x-countersign-date', time),
      );
    }
    for (const wrong of [
      Number.NaN,
      undefined as unknown as number,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]) {
      let now = NOW;
      const { sign, verifier } = createApi({
        clock: () => now,
        nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      });
      now = wrong;
      await expect(async () => verifier.verify(await sign())).rejects.toThrow(
        `Cannot tell the time: what the clock returned is ${wrong}, expected Unix seconds`,
      );
    }
  });

  it('T3: the window is two-sided and exact', async () => {
    const at = async (age: number): Promise<string> => {
      const { sign, verifier } = createApi({ clock: () => NOW + age });
      return outcome(verifier, await sign());
    };
    expect(await at(120)).toBe(ACCEPTED);
    expect(await at(120.5)).toBe('ERR_SIGNATURE_EXPIRED');
    expect(await at(121)).toBe('ERR_SIGNATURE_EXPIRED');
    expect(await at(-5)).toBe(ACCEPTED);
    expect(await at(-5.5)).toBe('ERR_SIGNATURE_NOT_YET_VALID');
    expect(await at(-6)).toBe('ERR_SIGNATURE_NOT_YET_VALID');
    expect(await at(-31_536_000)).toBe('ERR_SIGNATURE_NOT_YET_VALID');
    await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
      withHeader(
        request,
        'authorization',
        header(request, 'authorization').replace('/20261121/', '/20261122/'),
      ),
    );
  });

  it('T4: a nonce is remembered for as long as its request could be accepted', async () => {
    for (const ahead of [0, 5]) {
      let now = NOW;
      const { sign, verifier } = createApi({ clock: () => now });
      const request = await sign({}, { clock: () => NOW + ahead });
      expect(await outcome(verifier, request)).toBe(ACCEPTED);
      for (now = NOW; now <= NOW + ahead + 120; now += 0.5)
        expect(await outcome(verifier, request), String(now - NOW)).toBe('ERR_NONCE_REUSED');
      expect(await outcome(verifier, request)).toBe('ERR_SIGNATURE_EXPIRED');
    }
  });

  it('T5: strangers burn no nonces', async () => {
    const claimed: string[] = [];
    const store = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const nonces: NonceStore = {
      claim(claim) {
        claimed.push(claim.nonce);
        return store.claim(claim);
      },
    };
    const { sign, verifier } = createApi({ nonces });
    const request = await sign();
    const wrong = withHeader(
      request,
      'authorization',
      header(request, 'authorization').replace(/.$/, (digit) => (digit === '0' ? '1' : '0')),
    );
    expect(await outcome(verifier, wrong)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, { ...request, body: Buffer.from('x') })).toBe(
      'ERR_BODY_MISMATCH',
    );
    expect(claimed).toEqual([]);
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
    expect(claimed).toEqual([header(request, 'x-countersign-nonce')]);
  });

  it('T6: nonces belong to a key and an audience, and have one shape', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const nonce = (): string => 'q83vASNFZ4mrze8BI0VniQ';
    const [one, other] = [createApi({ nonces }), createApi({ nonces })];
    expect(await outcome(one.verifier, await one.sign({}, { nonce }))).toBe(ACCEPTED);
    expect(await outcome(other.verifier, await other.sign({}, { nonce })), 'another key').toBe(
      ACCEPTED,
    );
    expect(await outcome(one.verifier, await one.sign({ target: '/other' }, { nonce }))).toBe(
      'ERR_NONCE_REUSED',
    );
    const elsewhere = createVerifier({
      audience: 'billing',
      keys: one.keys,
      nonces,
      clock: () => NOW,
    });
    expect(
      await outcome(elsewhere, await one.sign({}, { nonce, audience: 'billing' })),
      'another audience',
    ).toBe(ACCEPTED);
    for (const bad of [
      '',
      'x',
      'x'.repeat(21),
      'x'.repeat(23),
      'x'.repeat(1_000_000),
      'é'.repeat(22),
      'a:b c/d+e=f.g,h;i"j<k',
      ' '.repeat(22),
    ]) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(request, 'x-countersign-nonce', bad),
      );
    }
  });

  it('T7: of 200 copies at once exactly one is accepted', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const { sign, keys, verifier } = createApi({ nonces });
    const second = createVerifier({ audience: 'video-api', keys, nonces, clock: () => NOW });
    const request = await sign();
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (_, index) => outcome(index % 2 ? second : verifier, request)),
    );
    expect(outcomes.filter((code) => code === ACCEPTED)).toHaveLength(1);
    expect(outcomes.filter((code) => code === 'ERR_NONCE_REUSED')).toHaveLength(199);
  });

  it('T8: a nonce store that fails or answers nonsense accepts nothing', async () => {
    const answers: NonceStore['claim'][] = [
      () => Promise.reject(new Error('down')),
      () => {
        throw new Error('down');
      },
      ...[
        undefined,
        null,
        true,
        'claimed',
        {},
        { outcome: 'ok', epoch: 'e' },
        { outcome: ['claimed'], epoch: 'e' },
        { outcome: 'claimed' },
        { outcome: 'claimed', epoch: 'a\r\nb: c' },
        'OK',
        1,
      ].map((answer) => () => Promise.resolve(answer as never)),
    ];
    for (const claim of answers) {
      const { sign, verifier } = createApi({ nonces: { claim } });
      const error = await verifier.verify(await sign()).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ code: 'ERR_NONCE_STORE_FAILED', status: 503, retryAfter: 1 });
    }
    const { sign, verifier } = createApi({
      keys: { find: () => Promise.reject(new Error('down')) },
    });
    expect(await verifier.verify(await sign()).catch((thrown: unknown) => thrown)).toMatchObject({
      code: 'ERR_KEY_STORE_FAILED',
      status: 503,
    });
  });

  it('T9: a store that lost its memory accepts nothing that was captured before', async () => {
    const { sign, keys, verifier } = createApi();
    const captured = await Promise.all(
      [0, 1, 5].map((ahead) => sign({}, { clock: () => NOW + ahead })),
    );
    for (const request of captured) expect(await outcome(verifier, request)).toBe(ACCEPTED);
    let now = NOW;
    const clock = (): number => now;
    const restarted = createVerifier({
      audience: 'video-api',
      keys,
      nonces: new MemoryNonceStore({ clock }),
      clock,
    });
    for (now = NOW; now <= NOW + 125; now++) {
      for (const [index, request] of captured.entries())
        expect(await outcome(restarted, request)).toBe(
          now > NOW + ([0, 1, 5][index] as number) + 120
            ? 'ERR_SIGNATURE_EXPIRED'
            : 'ERR_NONCE_UNCERTAIN',
        );
    }
    expect(await outcome(restarted, await sign({}, { clock }))).toBe(ACCEPTED);
  });

  it('T11: every attempt has a signature of its own', async () => {
    const { sign, verifier } = createApi();
    const [first, second] = [await sign(), await sign()];
    expect(header(first, 'x-countersign-nonce')).not.toBe(header(second, 'x-countersign-nonce'));
    expect([
      await outcome(verifier, first),
      await outcome(verifier, second),
      await outcome(verifier, first),
    ]).toEqual([ACCEPTED, ACCEPTED, 'ERR_NONCE_REUSED']);
  });

  it('T12: a presigned URL cannot be made to last, or be used for another method, or for years', async () => {
    const { presign, verifier } = createApi();
    const request = await presign(60);
    expect(
      await outcome(
        verifier,
        retarget(request, (target) => target.replace('Expires=60', 'Expires=600')),
      ),
    ).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, { ...request, method: 'DELETE' })).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
    expect(await outcome(verifier, await presign(604_800))).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
    expect(await outcome(verifier, request), 'until it expires').toBe(ACCEPTED);
    const late = createApi({ clock: () => NOW + 61 });
    expect(await outcome(late.verifier, await late.presign(60))).toBe('ERR_SIGNATURE_EXPIRED');
  });

  it('T12: a presigned URL works once where the server says so, and not at all where it says that', async () => {
    const once = createApi({ presignedUrls: 'once' });
    const request = await once.presign(600);
    expect([await outcome(once.verifier, request), await outcome(once.verifier, request)]).toEqual([
      ACCEPTED,
      'ERR_NONCE_REUSED',
    ]);
    const never = createApi({ presignedUrls: 'refuse' });
    expect(await outcome(never.verifier, await never.presign(60))).toBe('ERR_SIGNATURE_MISSING');
  });

  it('T13: a callback is accepted once, whatever is left out of it or changed around it', async () => {
    const [old, next] = ['the secret that was', 'the secret that will be'].map(
      (text) => `whsec_${Buffer.from(text.padEnd(24)).toString('base64')}`,
    ) as [string, string];
    const scheme = standardWebhooks();
    const verifier = createCallbackVerifier({
      secrets: [next, old],
      clock: () => NOW,
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
    });
    const sign = (signedAt: number): Record<string, string> => {
      const params = { id: 'msg_1', signedAt };
      const content = scheme.content(params, Buffer.from('{}'));
      const signatures = [old, next].map((it) => scheme.parseKey(it).sign?.(content) ?? '');
      return scheme.write?.(params, signatures) ?? {};
    };
    const first = sign(NOW - 1);
    const [one = '', other = ''] = first['webhook-signature']?.split(' ') ?? [];
    const verify = (changes: Record<string, string>, headers = first) =>
      verifier.verify({ headers: { ...headers, ...changes }, body: '{}' }).then(
        () => ACCEPTED,
        ({ code }) => code,
      );
    expect(await verify({})).toBe(ACCEPTED);
    for (const signature of [one, other, `${other} ${one}`, `v1,AAAA ${one}`, `${one} v9,${other}`])
      expect(await verify({ 'webhook-signature': signature })).toBe('ERR_NONCE_REUSED');
    expect(await verify({ 'webhook-id': 'msg_2' })).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await verify({ 'webhook-timestamp': `${NOW}` })).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await verify({ 'webhook-timestamp': `0${NOW - 1}` })).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await verify({}, sign(NOW)), 'an honest retry').toBe(ACCEPTED);
  });

  it('T14: an id that is not signed does not make a handler run again', async () => {
    const secret = 'a secret of a repository';
    const verifier = createCallbackVerifier({ scheme: githubWebhooks(), secrets: [secret] });
    const handleOnce = createOnce({ store: new MemoryOnceStore() });
    const signature = `sha256=${createHmac('sha256', secret).update('{}').digest('hex')}`;
    const outcomes: string[] = [];
    for (const delivery of ['one', 'two', 'three']) {
      const headers = { 'x-hub-signature-256': signature, 'x-github-delivery': delivery };
      const callback = await verifier.verify({ headers, body: '{}' });
      outcomes.push((await handleOnce(callback, () => undefined)).outcome);
    }
    expect(outcomes).toEqual(['completed', 'done', 'done']);
  });
});
