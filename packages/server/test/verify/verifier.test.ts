import { createSigner } from '@countersign/client';
import {
  type AccessKey,
  createVerifier,
  type Explanation,
  generateAccessKey,
  type IncomingBody,
  MemoryKeyStore,
  MemoryNonceStore,
  SignatureError,
  type VerifierOptions,
} from '@countersign/server';
import { describe, expect, it } from 'vitest';
import {
  AUDIENCE,
  addHeader,
  createApi,
  header,
  NOW,
  ORIGIN,
  outcome,
  signerFor,
  withHeader,
  withoutHeader,
} from '../../../../test/support/api.ts';

/** What becomes of a request whose body takes some seconds, and whose key ends meanwhile. */
async function verdictOnSlowBody(
  seconds: number,
  end: (keys: MemoryKeyStore, key: AccessKey) => unknown,
  changes: Partial<AccessKey> = {},
): Promise<string> {
  let now = NOW;
  const { key, keys, sign, verifier } = createApi({ clock: () => now }, changes);
  const request = await sign();
  const body: IncomingBody = {
    async bytes() {
      await end(keys, key);
      now += seconds;
      return request.body ?? new Uint8Array();
    },
  };
  return verifier.verify({ ...request, body }).then(
    () => 'accepted',
    ({ code, message }) => `${code}: ${message.slice(message.indexOf(': ') + 2)}`,
  );
}

describe('verifier.verify()', () => {
  it('tells who signed, and what is covered', async () => {
    const { key, sign, verifier } = createApi();
    const request = await sign();
    expect(await verifier.verify(request)).toEqual({
      accessKeyId: key.accessKeyId,
      subject: 'alice',
      scopes: ['videos:parse'],
      scheme: 'countersign',
      audience: AUDIENCE,
      signedAt: NOW,
      nonce: header(request, 'x-countersign-nonce'),
      signedHeaders: [
        'content-type',
        'host',
        'x-countersign-content-sha256',
        'x-countersign-date',
        'x-countersign-nonce',
      ],
      host: 'api.example.com',
      bodySigned: true,
      reusable: false,
      epoch: expect.stringMatching(/^[\w-]{22}$/),
    });
  });

  it('says whether the body is signed, and whether the request can be used again', async () => {
    const unsignedPayload = 'accept-unsigned-bodies';
    const { sign, presign, verifier } = createApi({ unsignedPayload });
    const headers = { 'x-countersign-content-sha256': 'UNSIGNED-PAYLOAD' };
    expect(await verifier.verify(await sign({ headers }))).toMatchObject({
      bodySigned: false,
      reusable: false,
    });
    const url = await presign(600);
    for (let time = 0; time < 2; time++)
      expect(await verifier.verify(url)).toMatchObject({ bodySigned: true, reusable: true });
    const once = createApi({ presignedUrls: 'once' });
    expect(await once.verifier.verify(await once.presign(600))).toMatchObject({ reusable: false });
  });

  it('hands out lists that one request cannot spoil for others', async () => {
    const { sign, verifier } = createApi();
    const { scopes, signedHeaders } = await verifier.verify(await sign());

    expect(() => (signedHeaders as string[]).reverse()).toThrow('read only property');
    expect(() => (scopes as string[]).push('admin')).toThrow('not extensible');
    expect((await verifier.verify(await sign())).signedHeaders).toEqual(signedHeaders);
  });

  it('takes headers as pairs, raw headers, a Headers or a record, and the body as bytes or text', async () => {
    const { sign, verifier } = createApi();
    for (const form of [
      (pairs: [string, string][]) => pairs,
      (pairs: [string, string][]) => pairs.flat(),
      (pairs: [string, string][]) => new Headers(pairs),
      (pairs: [string, string][]) => Object.fromEntries(pairs),
    ]) {
      const request = await sign({ body: 'grüße' });
      await expect(
        verifier.verify({ ...request, headers: form(request.headers) }),
      ).resolves.toMatchObject({ subject: 'alice' });
      const text = await sign({ body: 'grüße' });
      await expect(
        verifier.verify({ ...text, headers: form(text.headers), body: 'grüße' }),
      ).resolves.toMatchObject({ subject: 'alice' });
    }
  });

  it('refuses a key that ended while the body was on its way', async () => {
    const inactive = (why: string) => `ERR_KEY_INACTIVE: ${why}`;
    const ends: Record<string, [(keys: MemoryKeyStore, key: AccessKey) => unknown, string]> = {
      revoked: [(keys, { accessKeyId }) => keys.revoke({ accessKeyId }), inactive('it is revoked')],
      'revoked with all of its subject': [
        (keys, { subject }) => keys.revoke({ subject }),
        inactive('it is revoked'),
      ],
      'revoked by what it signed': [
        (keys) => keys.revoke({ signedBefore: NOW + 1 }),
        inactive('what it signed until then is revoked'),
      ],
      disabled: [
        (keys, { accessKeyId }) => keys.disable(accessKeyId),
        inactive('it is not active'),
      ],
      'given another secret': [
        (keys, key) => keys.set({ ...key, secretAccessKey: generateAccessKey().secretAccessKey }),
        'ERR_SIGNATURE_MISMATCH: the signature does not match; compare the canonical request that this server built with the one that was signed',
      ],
      'moved to another audience': [
        (keys, key) => keys.set({ ...key, audiences: ['billing'] }),
        inactive('it is not for this audience'),
      ],
      deleted: [
        (keys, { accessKeyId }) => keys.delete(accessKeyId),
        'ERR_KEY_UNKNOWN: there is no such key',
      ],
      nothing: [() => undefined, 'accepted'],
    };
    for (const [what, [end, verdict]] of Object.entries(ends))
      expect(await verdictOnSlowBody(2, end), what).toBe(verdict);
  });

  it('refuses a key that expires while the body is on its way', async () => {
    const expired = 'ERR_KEY_INACTIVE: it has expired';
    const until = (expiresAt: number, seconds: number) =>
      verdictOnSlowBody(seconds, () => undefined, { expiresAt });
    expect(await until(NOW + 2, 1.5)).toBe('accepted');
    expect(await until(NOW + 2, 2)).toBe(expired);
    expect(await until(NOW + 2, 60)).toBe(expired);
    expect(await until(NOW + 61, 60)).toBe('accepted');
  });

  it('says what the key may do once the body is there', async () => {
    let now = NOW;
    const { key, keys, sign, verifier } = createApi({ clock: () => now });
    const request = await sign();
    const bytes = async () => {
      keys.set({ ...key, scopes: [] });
      now += 2;
      return request.body ?? new Uint8Array();
    };
    expect(await verifier.verify({ ...request, body: { bytes } })).toMatchObject({ scopes: [] });
  });

  it('refuses a presigned URL that expires while the body is on its way', async () => {
    for (const presignedUrls of ['until-expiry', 'once'] as const) {
      for (const [seconds, verdict] of [
        [60, 'accepted'],
        [60.5, 'ERR_SIGNATURE_EXPIRED'],
      ] as const) {
        let now = NOW;
        const { presign, verifier } = createApi({ clock: () => now, presignedUrls });
        const bytes = async () => {
          now += seconds;
          return new Uint8Array();
        };
        const request = { ...(await presign(60)), body: { bytes } as never };
        expect(await outcome(verifier, request), `${presignedUrls}, ${seconds} s`).toBe(verdict);
      }
    }
  });

  it('refuses a request whose key cannot be looked up again after a slow body', async () => {
    let isDown = false;
    const { key } = createApi();
    const find = async () => {
      if (isDown) throw new Error('down');
      return key;
    };
    let now = NOW;
    const { verifier } = createApi({ clock: () => now, keys: { find } });
    const request = await signerFor(key).sign();
    const bytes = async () => {
      isDown = true;
      now += 2;
      return request.body ?? new Uint8Array();
    };
    await expect(verifier.verify({ ...request, body: { bytes } })).rejects.toMatchObject({
      code: 'ERR_KEY_STORE_FAILED',
    });
  });

  it('refuses a session that ends while the body is on its way', async () => {
    let now = NOW;
    const { key } = createApi();
    let session: object | undefined = { ...key, expiresAt: NOW + 60, session: {} };
    const { verifier } = createApi({
      clock: () => now,
      sessions: { find: async () => session as never },
    });
    const credentials = { ...key, sessionToken: 'sealed' };
    const sign = () => signerFor(key).sign({}, { credentials });
    const verdict = async (seconds: number, end: () => void = () => undefined) => {
      now = NOW;
      const request = await sign();
      const bytes = async () => {
        now += seconds;
        end();
        return request.body ?? new Uint8Array();
      };
      return outcome(verifier, { ...request, body: { bytes } as never });
    };
    expect(await verdict(2)).toBe('accepted');
    expect(await verdict(60)).toBe('ERR_KEY_INACTIVE');
    const unknown = () => {
      session = undefined;
    };
    expect(await verdict(2, unknown)).toBe('ERR_KEY_UNKNOWN');
  });

  it('refuses a nonce it has seen, and says the epoch', async () => {
    const { sign, verifier } = createApi();
    const request = await sign();
    const { epoch } = await verifier.verify(request);
    const refusal = await verifier.verify(request).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: 'ERR_NONCE_REUSED', epoch });
  });

  it('is uncertain of what a newborn store may have forgotten, until the epoch is echoed or the floor has passed', async () => {
    let now = NOW;
    const clock = (): number => now;
    const { key, verifier } = createApi({ clock, nonces: new MemoryNonceStore({ clock }) });
    const signer = signerFor(key);
    const refusal: SignatureError = await verifier.verify(await signer.sign({}, { clock })).then(
      () => Promise.reject(new Error('accepted')),
      (error) => error,
    );
    expect(refusal).toMatchObject({
      code: 'ERR_NONCE_UNCERTAIN',
      reason: 'replay-unknown',
      retryAfter: 8,
      epoch: expect.any(String),
    });
    expect(
      await outcome(verifier, await signer.sign({ epoch: refusal.epoch }, { clock })),
      'with the epoch',
    ).toBe('accepted');
    expect(
      await outcome(verifier, await signer.sign({ epoch: 'another' }, { clock })),
      'with another',
    ).toBe('ERR_NONCE_UNCERTAIN');
    now += refusal.retryAfter ?? 0;
    expect(await outcome(verifier, await signer.sign({}, { clock })), 'without it, later').toBe(
      'accepted',
    );
  });

  it.each([
    ['replayed', 'ERR_NONCE_REUSED', 401],
    ['stale', 'ERR_SIGNATURE_EXPIRED', 401],
    ['early', 'ERR_SIGNATURE_NOT_YET_VALID', 401],
  ] as const)(
    'refuses what its store says is %s, and tells the epoch',
    async (said, code, status) => {
      const nonces = { claim: async () => ({ outcome: said, epoch: 'epoch-1' }) };
      const { key, verifier } = createApi({ clock: () => NOW, nonces });
      const signed = await signerFor(key).sign({}, { clock: () => NOW });
      await expect(verifier.verify(signed)).rejects.toMatchObject({
        code,
        status,
        retry: 're-signed',
        epoch: 'epoch-1',
      });
    },
  );

  it('says why its store failed, to the operator of the server', async () => {
    const cause = new Error('out of memory');
    const nonces = { claim: () => Promise.reject(cause) };
    const { key, verifier } = createApi({ clock: () => NOW, nonces });
    const signed = await signerFor(key).sign({}, { clock: () => NOW });
    await expect(verifier.verify(signed)).rejects.toMatchObject({
      code: 'ERR_NONCE_STORE_FAILED',
      message: 'The nonce store failed: "out of memory"',
      retryAfter: 1,
      cause,
    });
  });

  it('judges freshness again when the nonce is claimed', async () => {
    let now = NOW;
    const { sign, verifier } = createApi({ clock: () => now });
    const request = await sign();
    const slow: IncomingBody = {
      async bytes() {
        now += 121;
        return request.body ?? new Uint8Array();
      },
    };
    expect(await outcome(verifier, { ...request, body: slow as never })).toBe(
      'ERR_SIGNATURE_EXPIRED',
    );
  });

  it('waits for a body that is judged later', async () => {
    const { sign, verifier } = createApi();
    const mismatch = new SignatureError('ERR_BODY_MISMATCH', 'another body');
    const late = {
      bytes: () => new Promise<Uint8Array>((_, reject) => setImmediate(reject, mismatch)),
    };
    await expect(verifier.verify({ ...(await sign()), body: late })).rejects.toBe(mismatch);
  });

  it('goes on when the day changes', async () => {
    const midnight = Date.UTC(2026, 10, 22) / 1000;
    let now = midnight - 1;
    const clock = (): number => now;
    const { sign, verifier } = createApi({ clock });
    for (now of [midnight - 1, midnight, midnight + 1]) {
      for (const signedAt of [now - 1, now, now + 1])
        expect(await outcome(verifier, await sign({}, { clock: () => signedAt }))).toBe('accepted');
    }
  });

  it('accepts UNSIGNED-PAYLOAD only where that is allowed by name', async () => {
    const unsigned = { headers: { 'x-countersign-content-sha256': 'UNSIGNED-PAYLOAD' } };
    const strict = createApi();
    expect(await outcome(strict.verifier, await strict.sign(unsigned))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    const lax = createApi({ unsignedPayload: 'accept-unsigned-bodies' });
    expect(
      await outcome(lax.verifier, { ...(await lax.sign(unsigned)), body: Buffer.from('anything') }),
    ).toBe('accepted');
    expect(
      await outcome(
        lax.verifier,
        withHeader(await lax.sign(), 'x-countersign-content-sha256', 'UNSIGNED-PAYLOAD'),
      ),
    ).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('uses a rotated secret at once, and no longer the old one', async () => {
    const { key, keys, sign, verifier } = createApi();
    expect(await outcome(verifier, await sign())).toBe('accepted');
    const rotated = { ...key, secretAccessKey: generateAccessKey().secretAccessKey };
    keys.set(rotated);
    expect(await outcome(verifier, await sign())).toBe('ERR_SIGNATURE_MISMATCH');
    expect(await outcome(verifier, await signerFor(rotated).sign())).toBe('accepted');
  });

  it('refuses records that no store of ours would hold', async () => {
    const accepted = async (change: object): Promise<string> => {
      const { key } = createApi();
      const find = async () => ({ ...key, ...change }) as AccessKey;
      return outcome(createApi({ keys: { find } }).verifier, await signerFor(key).sign());
    };
    expect(await accepted({ expiresAt: null, notBefore: null })).toBe('accepted');
    for (const change of [
      { expiresAt: new Date((NOW - 60) * 1000) },
      { expiresAt: (NOW - 60) * 1000 },
      { expiresAt: String(NOW + 60) },
      { notBefore: new Date((NOW - 60) * 1000) },
      { notBefore: -1 },
      { scopes: 'admin-readonly' },
      { scopes: undefined },
      { status: 'ACTIVE' },
      { status: undefined },
    ])
      expect(await accepted(change), JSON.stringify(change)).toBe('ERR_KEY_INACTIVE');
  });

  it('keeps derived keys of no more access keys than it can hold', async () => {
    const nonces = new MemoryNonceStore({ clock: () => NOW, bornAt: 0 });
    const { secretAccessKey } = generateAccessKey();
    const find = async (accessKeyId: string): Promise<AccessKey> => ({
      ...generateAccessKey(),
      accessKeyId,
      secretAccessKey,
    });
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys: { find },
      nonces,
      clock: () => NOW,
    });
    for (let index = 0; index < 10_050; index++) {
      const signer = createSigner({
        credentials: { accessKeyId: `key-${index % 10_025}`, secretAccessKey },
        audience: AUDIENCE,
        clock: () => NOW,
      });
      const { headers } = await signer.sign({ method: 'GET', url: `${ORIGIN}/` });
      await verifier.verify({
        method: 'GET',
        url: '/',
        headers: { ...headers, host: 'api.example.com' },
      });
    }
    expect(nonces.size).toBe(10_050);
  });

  it('passes on what is not a refusal', async () => {
    const { sign, verifier } = createApi();
    const broken = {
      bytes: () => {
        throw new TypeError('a bug');
      },
    };
    await expect(verifier.verify({ ...(await sign()), body: broken })).rejects.toThrow('a bug');
    await expect(verifier.explain({ ...(await sign()), body: broken })).rejects.toThrow('a bug');
  });

  it('refuses what is no method', async () => {
    const { sign, verifier } = createApi();
    for (const method of ['', 'GET /', 'G\nET', 'é', 'X'.repeat(33)])
      expect(await outcome(verifier, { ...(await sign()), method }), method).toBe(
        'ERR_SIGNATURE_MALFORMED',
      );
  });

  it('answers garbage of every kind with a refusal or a TypeError, and goes on', async () => {
    const { sign, verifier } = createApi();
    const garbage = [
      undefined,
      null,
      {},
      { method: 1 },
      { method: 'GET', url: 1, headers: {} },
      { method: 'GET', url: '/', headers: 1 },
      { method: 'GET', url: '/', headers: [null] },
      { method: 'GET', url: '/', headers: null },
    ];
    for (const request of garbage as never[]) {
      const error = await verifier.verify(request).catch((thrown: unknown) => thrown);
      expect(
        error instanceof SignatureError || error instanceof TypeError,
        JSON.stringify(request),
      ).toBe(true);
    }
    expect(await outcome(verifier, await sign())).toBe('accepted');
  });
});

describe('verifier.explain()', () => {
  it('tells of a good request that it would be accepted, and claims no nonce', async () => {
    const { sign, verifier } = createApi();
    const request = await sign();
    const explanation = await verifier.explain(request);
    expect(explanation).toMatchObject({
      outcome: 'accepted',
      subject: 'alice',
      scheme: 'countersign',
      checks: { syntax: 'passed', signature: 'passed', body: 'passed', nonce: 'not made' },
    });
    expect(await outcome(verifier, request)).toBe('accepted');
  });

  it('shows what the server saw of each component, and the texts it built', async () => {
    const { sign, verifier } = createApi({ signedHeaders: ['x-tenant'] });
    const request = addHeader(addHeader(await sign(), 'X-Tenant', 'acme'), 'Accept', 'text/secret');
    const explanation = await verifier.explain(request);
    expect(explanation).toMatchObject({
      outcome: 'refused',
      code: 'ERR_COMPONENT_NOT_COVERED',
      reason: 'component-not-covered',
      checks: {
        syntax: 'passed',
        time: 'passed',
        failures: 'passed',
        coverage: 'failed',
        key: 'not made',
        signature: 'not made',
      },
    });
    expect(explanation.message).toContain('"x-tenant"');
    const seen = Object.fromEntries(
      explanation.components.map(({ component, saw, signed }) => [component, [saw, signed]]),
    );
    expect(seen).toMatchObject({
      method: ['POST', true],
      path: ['/VideoParser/', true],
      query: ['lang=en', true],
      'header host': ['api.example.com', true],
      'header x-tenant': ['acme', false],
      'header accept': ['(redacted)', false],
      'header authorization': ['(redacted)', false],
      'body hash': [header(request, 'x-countersign-content-sha256'), true],
      time: [expect.stringContaining(`signed at ${NOW}, 0 s ago`), true],
    });
    expect(explanation.canonicalRequest).toMatch(/^POST\n\/VideoParser\/\nlang=en\ncontent-type:/);
    expect(explanation.stringToSign).toMatch(/^COUNTERSIGN1-HMAC-SHA256\n20261121T222526Z\n/);
  });

  it('shows the canonical request also where time or key were refused before', async () => {
    const { sign, verifier } = createApi({ clock: () => NOW + 500 });
    expect(await verifier.explain(await sign())).toMatchObject({
      code: 'ERR_SIGNATURE_EXPIRED',
      checks: { syntax: 'passed', time: 'failed', key: 'not made' },
      canonicalRequest: expect.stringContaining('/VideoParser/'),
    });
    const stranger = await createApi().sign();
    expect(await createApi().verifier.explain(stranger)).toMatchObject({
      code: 'ERR_KEY_UNKNOWN',
      checks: { key: 'failed' },
      subject: undefined,
    });
  });

  it('says so where nothing could be read', async () => {
    const { verifier, sign } = createApi();
    expect(await verifier.explain({ method: 'GET', url: '*', headers: {} })).toMatchObject({
      code: 'ERR_TARGET_AMBIGUOUS',
      components: [],
      checks: { syntax: 'failed' },
    });
    const absent = await verifier.explain(withoutHeader(await sign(), 'content-type'));
    expect(absent.components).toContainEqual({
      component: 'header content-type',
      saw: '(absent)',
      signed: true,
    });
    expect(absent.canonicalRequest).toBeUndefined();
  });

  it('leaves a signature out however its parameter is written', async () => {
    const { verifier } = createApi();
    for (const name of [
      'X-Countersign-Signature',
      'x-countersign-signature',
      'X-Countersign-Signatur%65',
    ]) {
      const url = `/?${name}=0&${name}=abcdef`;
      const explanation = await verifier.explain({ method: 'GET', url, headers: {} });
      expect(JSON.stringify(explanation)).not.toContain('abcdef');
      expect(explanation.components[2]?.saw).toBe(`${name}=(redacted)&${name}=(redacted)`);
    }
  });

  it('leaves tokens, cookies and signatures out', async () => {
    const { key, keys, presign } = createApi();
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys,
      sessions: { find: async () => ({ ...key, session: {} }) },
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      clock: () => NOW,
    });
    const signer = createSigner({
      credentials: { ...key, sessionToken: 'sealed-token' },
      audience: AUDIENCE,
      clock: () => NOW,
      signedHeaders: ['cookie'],
    });
    const { headers } = await signer.sign({
      method: 'GET',
      url: `${ORIGIN}/`,
      headers: { cookie: 'session=hush' },
    });
    const explanation = await verifier.explain({
      method: 'GET',
      url: '/',
      headers: { ...headers, host: 'api.example.com' },
    });
    const presigned = await presign(60);
    const text = JSON.stringify([explanation, await verifier.explain(presigned)]);
    expect(explanation.outcome).toBe('accepted');
    expect(explanation.canonicalRequest).toContain('cookie:(redacted)\n');
    for (const hidden of [
      'sealed-token',
      'hush',
      headers['authorization']?.slice(-64),
      presigned.url.slice(-64),
    ])
      expect(text).not.toContain(hidden);
  });
});

describe('onRefused', () => {
  it('is given the explanation of every refusal, as one line of JSON', async () => {
    const told: Explanation[] = [];
    const { sign, verifier } = createApi({ onRefused: (explanation) => told.push(explanation) });
    const request = await sign();
    await verifier.verify(request);
    await verifier.verify(request).catch(() => undefined);
    await verifier.verify(withHeader(await sign(), 'content-type', 'a\nb')).catch(() => undefined);
    expect(told.map(({ code, checks }) => [code, checks.nonce])).toEqual([
      ['ERR_NONCE_REUSED', 'failed'],
      ['ERR_SIGNATURE_MALFORMED', 'not made'],
    ]);
    for (const explanation of told) expect(JSON.stringify(explanation).split('\n')).toHaveLength(1);
  });

  it('decides nothing by throwing, nor by a promise that rejects', async () => {
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void warnings.push(warning);
    process.on('warning', listen);
    const full = () => {
      throw new Error('log is full');
    };
    for (const onRefused of [full, () => Promise.reject(new Error('log is down'))]) {
      const { verifier } = createApi({ onRefused });
      const attempt = verifier.verify({ method: 'GET', url: '/', headers: {} });
      await expect(attempt).rejects.toMatchObject({ code: 'ERR_SIGNATURE_MISSING' });
    }
    await new Promise(setImmediate);
    process.off('warning', listen);
    expect(warnings).toMatchObject([
      { message: expect.stringContaining('Error: log is full'), code: 'COUNTERSIGN_ON_REFUSED' },
      { message: expect.stringContaining('Error: log is down'), code: 'COUNTERSIGN_ON_REFUSED' },
    ]);
  });
});

describe('createVerifier()', () => {
  const good = (): VerifierOptions => ({
    audience: AUDIENCE,
    keys: new MemoryKeyStore(),
    nonces: new MemoryNonceStore(),
  });
  const bad: [name: string, value: unknown, error: typeof TypeError | typeof RangeError][] = [
    ['audience', '', TypeError],
    ['audience', undefined, TypeError],
    ['audience', 'a/b', TypeError],
    ['audience', 'a b', TypeError],
    ['keys', undefined, TypeError],
    ['keys', {}, TypeError],
    ['keys', [generateAccessKey()], TypeError],
    ['nonces', null, TypeError],
    ['nonces', { claim: 1 }, TypeError],
    ['schemes', [], RangeError],
    ['schemes', [{}], TypeError],
    ['schemes', 'countersign', TypeError],
    ['window', 0, RangeError],
    ['window', -5, RangeError],
    ['window', 3_601, RangeError],
    ['window', Number.NaN, TypeError],
    ['window', '120', TypeError],
    ['window', Number.POSITIVE_INFINITY, TypeError],
    ['ahead', -1, RangeError],
    ['ahead', 301, RangeError],
    ['clock', 5, TypeError],
    ['publicOrigin', 'api.example.com', TypeError],
    ['publicOrigin', 'https://api.example.com/', TypeError],
    ['publicOrigin', 'ftp://api.example.com', TypeError],
    ['publicOrigin', 'https://API.example.com', TypeError],
    ['publicPrefix', 'v1', TypeError],
    ['publicPrefix', '/v1/', TypeError],
    ['publicPrefix', '/v 1', TypeError],
    ['publicPrefix', '/../v1', TypeError],
    ['publicPrefix', '/v1?x', TypeError],
    ['signedHeaders', ['X-Tenant'], TypeError],
    ['signedHeaders', 'x-tenant', TypeError],
    ['presignedUrls', 'never', TypeError],
    ['presignedMaxExpires', 0, RangeError],
    ['presignedMaxExpires', 604_801, RangeError],
    ['unsignedPayload', true, TypeError],
    ['onRefused', 'log', TypeError],
    ['windows', 60, TypeError],
  ];
  it.each(bad)('refuses %s: %j, naming both', (name, value, error) => {
    const build = (): unknown => createVerifier({ ...good(), [name]: value } as VerifierOptions);
    expect(build).toThrow(
      expect.objectContaining({
        name: error.name,
        message: expect.stringMatching(new RegExp(`^Cannot build verifier: .*"${name}`)),
      }),
    );
  });

  it('refuses what is no options at all', () => {
    for (const options of [undefined, null, 'video-api', 5, []] as never[])
      expect(() => createVerifier(options)).toThrow(
        /^Cannot build verifier: expected an object, got /,
      );
  });
});
