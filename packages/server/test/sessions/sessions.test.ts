import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { createFetch, createSigner, sessionCredentials } from '@countersign/client';
import { signing } from '@countersign/client/undici';
import {
  type AccessKey,
  createVerifier,
  generateMasterKey,
  type Identity,
  MemoryKeyStore,
  MemoryNonceStore,
  type SessionRevocations,
} from '@countersign/server';
import {
  identityOf,
  requireSignature,
  type SessionEndpointOptions,
  sessionEndpoint,
} from '@countersign/server/express';
import { FileKeyStore } from '@countersign/server/file';
import {
  createSessions,
  type SessionCredentials,
  type Sessions,
  type SessionsOptions,
} from '@countersign/server/sessions';
import express from 'express';
import express4 from 'express4';
import { CompactEncrypt } from 'jose';
import { Agent, request } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { within } from '../../../../test/support/deadline.ts';
import { listen } from '../http/sockets.ts';

const AUDIENCE = 'video-api';
const NOW = 1_795_299_926;
const masterKey = generateMasterKey('first');

function open(options: Partial<SessionsOptions> = {}, clock = () => NOW) {
  const keys = new MemoryKeyStore([], clock);
  const sessions = createSessions({
    issuer: 'video-api',
    masterKey,
    revocations: keys,
    ...options,
  });
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys,
    sessions,
    nonces: new MemoryNonceStore({ clock, bornAt: 0 }),
    clock,
  });
  /** Who a verifier says that a request was signed by; or the code of its refusal. */
  const verify = async (
    credentials: SessionCredentials | AccessKey,
    headers: Record<string, string> = {},
  ): Promise<Identity | string> => {
    const signer = createSigner({ credentials, audience: AUDIENCE, clock });
    const signed = await signer.sign({ method: 'GET', url: 'http://api.test/' });
    return verifier
      .verify({
        method: 'GET',
        url: '/',
        headers: { ...signed.headers, host: 'api.test', ...headers },
      })
      .catch((error) => error.code ?? `not refused, but failed: ${error}`);
  };
  return { keys, sessions, verifier, verify };
}

const grant = { subject: 'alice', scopes: ['videos:parse', 'videos:list'], audience: AUDIENCE };

describe('session credentials', () => {
  it('sign requests for a while, as their subject, with their scopes', async () => {
    let now = NOW;
    const { sessions, verify } = open({}, () => now);
    const credentials = await sessions.issue({ ...grant, ttl: 600 });
    expect(credentials).toEqual({
      accessKeyId: expect.stringMatching(/^CSSK[0-9A-Z]{20}$/),
      secretAccessKey: expect.stringMatching(/^[\w-]{43}$/),
      sessionToken: expect.stringMatching(/^[\w-]+\.\.[\w-]{16}\.[\w-]+\.[\w-]{22}$/),
      expiresAt: NOW + 600,
    });
    expect(await verify(credentials)).toMatchObject({
      accessKeyId: credentials.accessKeyId,
      subject: 'alice',
      scopes: grant.scopes,
      expiresAt: NOW + 600,
      session: { parent: undefined },
    });
    now = NOW + 599;
    expect(await verify(credentials)).toMatchObject({ subject: 'alice' });
    now = NOW + 600;
    expect(await verify(credentials)).toBe('ERR_KEY_INACTIVE');
  });

  it('prove their possession: a token alone, or with another secret, is worth nothing', async () => {
    const { keys, sessions, verify } = open();
    const [mine, theirs] = [await sessions.issue(grant), await sessions.issue(grant)];
    const key = await keys.create({ subject: 'mallory' });
    const { sessionToken } = theirs;
    expect(await verify({ ...theirs, secretAccessKey: mine.secretAccessKey })).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
    expect(await verify({ ...mine, sessionToken })).toBe('ERR_KEY_UNKNOWN');
    expect(await verify({ ...key, sessionToken } as AccessKey)).toBe('ERR_KEY_UNKNOWN');
    // A token that is sent and not signed is refused, whichever key signed.
    expect(await verify(key, { 'x-countersign-session-token': sessionToken })).toMatch(/^ERR_/);
    const { sessionToken: _, ...without } = theirs;
    expect(await verify(without as SessionCredentials)).toBe('ERR_KEY_UNKNOWN');
  });

  it('are refused by a verifier that has no sessions, or those of another issuer', async () => {
    const { sessions, keys } = open();
    const credentials = await sessions.issue(grant);
    expect(await open({ issuer: 'other' }).verify(credentials)).toBe('ERR_KEY_UNKNOWN');
    expect(await open({ masterKey: generateMasterKey('first') }).verify(credentials)).toBe(
      'ERR_KEY_UNKNOWN',
    );
    expect(await open({ masterKey: generateMasterKey('second') }).verify(credentials)).toBe(
      'ERR_KEY_UNKNOWN',
    );
    const locked = open({ masterKey: () => Promise.reject(new Error('The vault is locked')) });
    expect(await locked.verify(credentials)).toBe('ERR_KEY_STORE_FAILED');
    const provider = { find: () => Promise.reject(new Error('The vault is locked')) };
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys,
      sessions: provider,
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      clock: () => NOW,
    });
    const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => NOW });
    const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
    await expect(
      verifier.verify({ method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } }),
    ).rejects.toMatchObject({ code: 'ERR_KEY_STORE_FAILED', status: 503 });
  });

  it('die where the store of revocations has lost its memory', async () => {
    const first = open();
    const credentials = await first.sessions.issue(grant);
    expect(await first.verify(credentials)).toMatchObject({ subject: 'alice' });
    const restarted = open();
    expect(await restarted.verify(credentials)).toBe('ERR_KEY_INACTIVE');
    const later = open({}, () => NOW + 1);
    await later.sessions.issue(grant);
    expect(await later.verify(credentials)).toBe('ERR_KEY_INACTIVE');
  });

  it('die then too where the clock of the server that began them was ahead', async () => {
    let now = NOW - 100;
    const ahead = open({}, () => now);
    await ahead.sessions.issue(grant);
    now = NOW + 4;
    const credentials = await ahead.sessions.issue(grant);
    const restarted = open({}, () => NOW + 1);
    await restarted.sessions.issue(grant);
    expect(await restarted.verify(credentials)).toBe('ERR_KEY_INACTIVE');
  });

  it('begin at once though something was revoked by a server whose clock is ahead', async () => {
    let now = NOW + 4;
    const { keys, sessions, verify } = open({}, () => now);
    await keys.revoke({ subject: 'alice', signedBefore: now + 4.9 });
    now = NOW;
    const credentials = await sessions.issue({ ...grant, ttl: 60 });
    expect(credentials.expiresAt).toBe(NOW + 60);
    expect(await verify(credentials)).toMatchObject({ subject: 'alice' });
  });

  it('end, and keys with them, by a revocation that follows one which the store has lost', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const [path, copy] = [join(folder, 'keys.json'), join(folder, 'copy.json')];
    const store = () => {
      const keys = new FileKeyStore({ path, masterKey });
      onTestFinished(() => keys.close());
      return keys;
    };
    const before = store();
    await before.create({ subject: 'alice' });
    await copyFile(path, copy);
    await before.revoke({ subject: 'alice' });
    const key = await before.create({ subject: 'alice' });
    const { sessions } = open({ revocations: before });
    const { sessionToken } = await sessions.issue(grant);
    // Restored, but for what came since to be kept: as a failover may.
    const records = JSON.parse(await readFile(path, 'utf8')).records;
    const restored = JSON.parse(await readFile(copy, 'utf8'));
    for (const [name, record] of Object.entries(records))
      if (!name.startsWith('subject/')) restored.records[name] = record;
    await writeFile(path, JSON.stringify(restored));
    const after = store();
    const lent = open({ revocations: after }).sessions;
    expect(await after.find(key.accessKeyId)).toMatchObject({ status: 'active' });
    expect(await lent.find(sessionToken)).toMatchObject({ status: 'active' });

    await after.revoke({ subject: 'alice' });

    expect(await after.find(key.accessKeyId)).toMatchObject({ status: 'revoked' });
    expect(await lent.find(sessionToken)).toMatchObject({ status: 'revoked' });
  });

  it('outlive a change of the master key, as long as the old one is kept', async () => {
    const keys = new MemoryKeyStore([], () => NOW);
    const second = generateMasterKey('second');
    const { sessions } = open({ revocations: keys });
    const credentials = await sessions.issue(grant);
    const rolled = open({ revocations: keys, masterKey: [second, masterKey] });
    expect(await rolled.verify(credentials)).toMatchObject({ subject: 'alice' });
    expect(await open({ revocations: keys, masterKey: second }).verify(credentials)).toMatch(
      /^ERR/,
    );
  });

  it.each([
    ['a ttl beyond the limit', { ttl: 43_201 }, 'option "ttl" is 43201'],
    ['a ttl of NaN', { ttl: Number.NaN }, 'option "ttl" is NaN'],
    ['a ttl of nothing', { ttl: 0 }, 'option "ttl" is 0'],
    ['a scope with a space', { scopes: ['videos:parse admin'] }, 'a name without spaces'],
    ['no subject', { subject: '' }, 'option "subject"'],
    ['no audience', { audience: undefined }, 'option "audience"'],
    ['a field that is unknown', { scope: 'admin' }, 'unknown option "scope"'],
    [
      'more than a token can carry',
      { scopes: Array.from({ length: 500 }, (_, index) => `videos:${index}`) },
      'give it fewer scopes',
    ],
  ])('are not issued with %s', async (_, wrong, message) => {
    const { sessions } = open();
    await expect(sessions.issue({ ...grant, ...wrong } as typeof grant)).rejects.toThrow(message);
  });

  it('are lent for no more, and no longer, than the access key is good for', async () => {
    const { keys, sessions, verify } = open();
    const key = await keys.create({ subject: 'alice', scopes: ['a', 'b'], expiresAt: NOW + 100 });
    const identity = (await verify(key)) as Identity;
    const all = await sessions.lend(identity);
    expect(await verify(all)).toMatchObject({
      subject: 'alice',
      scopes: ['a', 'b'],
      expiresAt: NOW + 100,
      session: { parent: key.accessKeyId },
    });
    const narrow = await sessions.lend(identity, { scopes: ['b'], ttl: 60 });
    expect(await verify(narrow)).toMatchObject({ scopes: ['b'], expiresAt: NOW + 60 });
    for (const scopes of [['a', 'c'], ['c'], ['A'], ['a b']])
      await expect(sessions.lend(identity, { scopes })).rejects.toMatchObject({
        code: 'ERR_SCOPE_MISSING',
      });
    const borrower = (await verify(narrow)) as Identity;
    await expect(sessions.lend(borrower)).rejects.toMatchObject({ code: 'ERR_SCOPE_MISSING' });
    for (const wanted of [{ scope: ['b'] }, { scopes: 'b' }, { scopes: null }, { ttl: '60' }, []])
      await expect(sessions.lend(identity, wanted as object)).rejects.toThrow(
        /^Cannot build session: (?:(?:unknown )?option "(?:scopes?|ttl)"|expected an object, got)/,
      );
  });

  it('are not lent for what was signed before it was revoked, however late that is heard of', async () => {
    const { keys, sessions, verify } = open();
    const key = await keys.create({ subject: 'alice', expiresAt: NOW + 100 });
    const identity = (await verify(key)) as Identity;
    const inactive = { code: 'ERR_KEY_INACTIVE', status: 401 };
    const endsNow = { ...identity, expiresAt: NOW + 0.5 };
    await expect(sessions.lend(endsNow)).rejects.toMatchObject(inactive);
    await keys.revoke({ subject: 'alice', signedBefore: NOW + 1 });
    await expect(sessions.lend(identity)).rejects.toMatchObject(inactive);
    const lent = await sessions.lend({ ...identity, signedAt: NOW + 1 });
    expect(await verify(lent)).toMatchObject({ subject: 'alice' });
    await keys.disable(key.accessKeyId);
    await expect(sessions.lend({ ...identity, signedAt: NOW + 1 })).rejects.toMatchObject(inactive);
  });

  it('are not lent on keys of another store than that of the revocations: all would be refused', async () => {
    const { keys, verify } = open();
    const identity = (await verify(await keys.create())) as Identity;
    await expect(open().sessions.lend(identity)).rejects.toThrow(
      'not in the store that sessions have as "revocations"',
    );
  });

  it('cannot be forged: 10,000 tokens that were changed, mixed, or made otherwise', async () => {
    const { keys, sessions, verify } = open();
    const [mine, theirs] = [
      await sessions.issue(grant),
      await sessions.issue({ ...grant, subject: 'admin', scopes: ['admin'] }),
    ];
    expect(await verify(mine)).toMatchObject({ subject: 'alice' });
    const tokens: string[] = [];
    const { sessionToken } = mine;
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ é';
    for (let at = 0; at < sessionToken.length; at++) {
      // Its neighbours, of which the last bits may not count, and some that are far off.
      const index = alphabet.indexOf(sessionToken[at] as string);
      for (let step = 1; step <= 20; step++) {
        const other = alphabet[(index + (step <= 10 ? step : step * 7)) % alphabet.length];
        if (other === sessionToken[at]) continue;
        tokens.push(sessionToken.slice(0, at) + other + sessionToken.slice(at + 1));
      }
      tokens.push(sessionToken.slice(0, at), sessionToken.slice(at));
      tokens.push(sessionToken.slice(0, at) + sessionToken.slice(at + 1));
    }
    const [ours, others] = [sessionToken.split('.'), theirs.sessionToken.split('.')];
    for (let mix = 1; mix < 31; mix++) {
      const parts = ours.map((part, index) => (mix & (1 << index) ? others[index] : part));
      if (parts.join('.') !== sessionToken && parts.join('.') !== theirs.sessionToken)
        tokens.push(parts.join('.'));
    }
    const [right, wrong] = await otherwise(mine);
    // So it is for what is changed that the others are refused.
    expect(await verify({ ...mine, sessionToken: right })).toMatchObject({ subject: 'admin' });
    tokens.push(...wrong);
    const unique = [...new Set(tokens)].filter((token) => token !== sessionToken && token !== '');
    expect(unique.length).toBeGreaterThan(10_000);
    const outcomes = new Map<string, number>();
    for (const token of unique) {
      // Some cannot even be sent.
      const isSendable = /^[!-~]+$/.test(token);
      const outcome = isSendable
        ? await verify({ ...mine, sessionToken: token })
        : ((await sessions.find(token)) ?? 'not found');
      const name = typeof outcome === 'string' ? outcome : `ACCEPTED ${JSON.stringify(outcome)}`;
      outcomes.set(name, (outcomes.get(name) ?? 0) + 1);
    }
    for (const outcome of outcomes.keys())
      expect([
        'ERR_KEY_UNKNOWN',
        'ERR_KEY_INACTIVE',
        'ERR_SIGNATURE_NOT_YET_VALID',
        'not found',
      ]).toContain(outcome);
    // Those that say for whom they are good, and were made by ourselves.
    const elsewhere = await sessions.issue({ ...grant, audience: 'other-api' });
    expect(await verify(elsewhere)).toBe('ERR_KEY_INACTIVE');
    expect(await verify({ ...mine, accessKeyId: theirs.accessKeyId })).toBe('ERR_KEY_UNKNOWN');
    expect(await keys.list()).toEqual([]);
  }, 120_000);

  describe.each([undefined, 0, 5, 30, 120])('lent by a server whose clock is ahead', (ahead) => {
    const allowed = ahead ?? 5;
    /** A server that lends, and one that verifies: each has its own clock. */
    async function lentAhead(seconds: number) {
      let now = NOW + seconds;
      const keys = new MemoryKeyStore([], () => now);
      const sessions = createSessions({ issuer: 'video-api', masterKey, revocations: keys });
      const credentials = await sessions.issue(grant);
      now = NOW;
      const verifier = createVerifier({
        audience: AUDIENCE,
        keys,
        sessions,
        nonces: new MemoryNonceStore({ clock: () => now, bornAt: 0 }),
        clock: () => now,
        ahead,
      });
      const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => now });
      const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
      const verify = (signed = headers) =>
        verifier
          .verify({ method: 'GET', url: '/', headers: { ...signed, host: 'api.test' } })
          .then(({ subject }) => subject)
          .catch((error: unknown) => error);
      return {
        verify,
        headers,
        accessKeyId: credentials.accessKeyId,
        wait: (s: number) => {
          now += s;
        },
      };
    }

    it(`are good within \`ahead\`: ${ahead}`, async () => {
      const { verify } = await lentAhead(allowed);
      expect(await verify()).toBe('alice');
    });

    it(`are refused beyond \`ahead\` (${ahead}), with clocks and seconds, and are spent`, async () => {
      const { verify, accessKeyId, wait } = await lentAhead(allowed + 1);
      expect(await verify()).toMatchObject({
        code: 'ERR_SIGNATURE_NOT_YET_VALID',
        reason: 'clock-skew',
        retry: 're-signed',
        retryAfter: 1,
        message: `Session ${accessKeyId} begins in ${allowed + 1} s, ${allowed} s are allowed: the clock of this server is behind the clock of the server that lent it; synchronise them`,
      });
      wait(2);
      // A captured copy, once the session has begun.
      expect(await verify()).toMatchObject({ code: 'ERR_NONCE_REUSED' });
    });

    it('say so only to who has the secret', async () => {
      const { verify, headers } = await lentAhead(allowed + 1);
      const authorization = headers['authorization']?.replace(/\w{64}$/, '0'.repeat(64)) ?? '';
      expect(await verify({ ...headers, authorization })).toMatchObject({
        code: 'ERR_SIGNATURE_MISMATCH',
      });
    });
  });

  it('show neither their secret nor their token in errors, explanations and inspections', async () => {
    const explanations: unknown[] = [];
    const { keys, sessions } = open();
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys,
      sessions,
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      clock: () => NOW,
      onRefused: (explanation) => explanations.push(explanation),
    });
    const credentials = await sessions.issue(grant);
    await keys.revoke({ accessKeyId: credentials.accessKeyId });
    const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => NOW });
    const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
    const received = { method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } };
    const error = await verifier.verify(received).catch((thrown: unknown) => thrown);
    const seen = [error, explanations, await verifier.explain(received), sessions, keys, verifier];
    expect(explanations).toHaveLength(1);
    const text = seen.map((it) => inspect(it, { depth: 12, showHidden: true })).join('\n');
    expect(text).toContain('it is revoked');
    expect(text).not.toContain(credentials.secretAccessKey);
    expect(text).not.toContain(credentials.sessionToken);
    expect(text).not.toContain(masterKey.split(':')[1]);
  });
});

/**
 * Tokens that are made otherwise than ours: with other algorithms, other claims, or none of all
 * that.
 */
async function otherwise({
  accessKeyId,
  secretAccessKey,
}: SessionCredentials): Promise<[right: string, wrong: string[]]> {
  const bytes = Buffer.from(masterKey.split(':')[1] as string, 'base64url');
  const claims = {
    iss: 'video-api',
    sub: 'admin',
    aud: AUDIENCE,
    iat: NOW,
    nbf: NOW - 5,
    exp: NOW + 3_600,
    jti: accessKeyId,
    scope: 'admin',
    ver: { subject: 0, all: NOW * 1000 },
    cnf: { jwk: { kty: 'oct', alg: 'HS256', k: secretAccessKey } },
  };
  const header = { alg: 'dir', enc: 'A256GCM', typ: 'countersign-session+jwt', kid: 'first' };
  const encode = (value: unknown): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url');
  const seal = (payload: unknown, changes: object, key: Uint8Array = bytes) =>
    new CompactEncrypt(new TextEncoder().encode(JSON.stringify(payload)))
      .setProtectedHeader({ ...header, ...changes } as { alg: string; enc: string })
      .encrypt(key);
  const { cnf: _, ...withoutKey } = claims;
  const wrong = [
    // With the right master key, which no attacker has: the algorithm is still not the token's to
    // choose.
    await seal(claims, { alg: 'A256GCMKW' }),
    await seal(claims, { alg: 'A256KW' }),
    await seal(claims, { enc: 'A128GCM' }, bytes.subarray(0, 16)),
    await seal(claims, { enc: 'A256CBC-HS512' }, Buffer.concat([bytes, bytes])),
    await seal(claims, { typ: 'JWT' }),
    // And what it claims is read strictly.
    await seal({ ...claims, iss: 'other' }, {}),
    await seal({ ...claims, aud: 'other-api' }, {}),
    await seal({ ...claims, aud: [AUDIENCE] }, {}),
    await seal({ ...claims, exp: NOW }, {}),
    await seal({ ...claims, exp: undefined }, {}),
    await seal({ ...claims, exp: 'never' }, {}),
    await seal({ ...claims, nbf: NOW + 6 }, {}),
    await seal({ ...claims, jti: 'CSSK7Q2M5X9R4T8W3Y6Z0ABC' }, {}),
    await seal({ ...claims, scope: ['admin'] }, {}),
    await seal({ ...claims, cnf: { jwk: { kty: 'oct', alg: 'none', k: secretAccessKey } } }, {}),
    await seal({ ...claims, cnf: { jwk: { kty: 'oct', alg: 'HS256', k: '' } } }, {}),
    await seal(withoutKey, {}),
    await seal([], {}),
    // With another key of the same name.
    await seal(claims, {}, Buffer.alloc(32, 7)),
    // Not sealed at all.
    `${encode({ alg: 'none' })}.${encode(claims)}.`,
    `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}.${encode('signature')}`,
    `${encode({ ...header, enc: 'none' })}..AAAAAAAAAAAAAAAA.${encode(claims)}.AAAAAAAAAAAAAAAAAAAAAA`,
    `${encode({ ...header, alg: 'none' })}..AAAAAAAAAAAAAAAA.${encode(claims)}.AAAAAAAAAAAAAAAAAAAAAA`,
    `${encode({ ...header, crit: ['exp'], exp: 1 })}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`,
    `${encode({ ...header, kid: '__proto__' })}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA`.replace(
      'first',
      '',
    ),
    'a'.repeat(5_000),
    '....',
    '.',
  ];
  return [await seal(claims, {}), wrong];
}

describe('sessionEndpoint() and sessionCredentials()', () => {
  async function serve(
    before: express.RequestHandler[] = [],
    revocations?: SessionRevocations,
    [makeApp, body]: readonly [typeof express, 'buffer' | 'stream'] = [express, 'buffer'],
    options: SessionEndpointOptions = { transport: 'allow-plain-http' },
  ) {
    const keys = new MemoryKeyStore();
    const sessions: Sessions = createSessions({
      issuer: 'video-api',
      masterKey,
      revocations: revocations ?? keys,
    });
    const verifier = createVerifier({
      audience: AUDIENCE,
      keys,
      sessions,
      nonces: new MemoryNonceStore(),
    });
    const key = await keys.create({ subject: 'alice', scopes: ['a', 'b'] });
    const app = makeApp();
    app.post(
      '/session',
      requireSignature(verifier, { body }),
      ...before,
      sessionEndpoint(sessions, options),
    );
    app.get('/whoami', requireSignature(verifier), (req, res) => void res.json(identityOf(req)));
    const { origin } = await listen(app);
    return { keys, key, origin, url: `${origin}/session` };
  }

  it('X13: lend nothing over plain HTTP, though the caller is on this machine', async () => {
    // A caller on this machine may be a proxy that says nothing of those behind it.
    const plain = await serve([], undefined, undefined, {});
    const call = createFetch({ credentials: plain.key, audience: AUDIENCE });
    const answer = await call(plain.url, { method: 'POST' });
    expect(answer.status).toBe(500);
    expect(await answer.text()).not.toContain('secretAccessKey');
    const allowed = await serve();
    const again = createFetch({ credentials: allowed.key, audience: AUDIENCE });
    expect((await again(allowed.url, { method: 'POST' })).status).toBe(201);
  });

  it('lend credentials that sign, with a parser above and without', async () => {
    for (const before of [[], [express.json()]]) {
      const { key, origin, url } = await serve(before);
      const credentials = sessionCredentials({
        url,
        credentials: key,
        audience: AUDIENCE,
        scopes: ['b'],
        ttl: 60,
      });
      const signedFetch = createFetch({ credentials, audience: AUDIENCE });
      const answers = await Promise.all(
        Array.from(
          { length: 20 },
          async () => (await (await signedFetch(`${origin}/whoami`)).json()) as Identity,
        ),
      );
      expect(new Set(answers.map(({ accessKeyId }) => accessKeyId)).size).toBe(1);
      expect(answers[0]).toMatchObject({
        subject: 'alice',
        scopes: ['b'],
        session: { parent: key.accessKeyId },
      });
    }
  });

  const FORMS = [
    [express, 'buffer'],
    [express, 'stream'],
    [express4, 'buffer'],
    [express4, 'stream'],
  ] as const;
  const PARSERS = {
    none: [],
    json: [express.json()],
    urlencoded: [express.urlencoded()],
    text: [express.text()],
    raw: [express.raw()],
    'of Express 4': [express4.json()],
  };
  it.each(
    Object.entries(PARSERS).flatMap(([parser, before]) =>
      FORMS.map((form) => [parser, form[0] === express ? 5 : 4, form[1], before, form] as const),
    ),
  )('read what is wanted, parser: %s, Express %d, body: %s', async (_, _5, _body, before, form) => {
    const { key, url } = await serve([...before], undefined, form);
    const call = createFetch({ credentials: key, audience: AUDIENCE });
    const ask = async (body: string, type: string) => {
      const headers = { 'content-type': type };
      const answer = await call(url, { method: 'POST', body, headers });
      return { status: answer.status, text: await answer.text() };
    };
    for (const type of [
      'application/json',
      'text/plain',
      'application/octet-stream',
      'application/cbor',
    ]) {
      expect(await ask('{"scopes":["c"]}', type)).toMatchObject({ status: 403 });
      expect(await ask('{"scopes":["a"]}', type)).toMatchObject({ status: 201 });
    }
    // What is left of it blocks no connection.
    for (const length of [20_000, 90_000]) {
      const { status } = await ask(`{"scopes":["${'x'.repeat(length)}"]}`, 'application/cbor');
      expect(status).toBe(413);
      expect(await ask('{}', 'application/json')).toMatchObject({ status: 201 });
    }
  });

  it('are not lent for all that there is where what is wanted did not arrive', async () => {
    let begun = 0;
    const counting: SessionRevocations = {
      beginSession: async () => {
        begun++;
        return { now: 0, issuedAt: 0, signedSince: 0, versions: { subject: 0, all: 0 } };
      },
      isSessionRevoked: async () => false,
    };
    const cut: express.RequestHandler = (req, _res, next) => {
      req.destroy();
      next();
    };
    const { key, url } = await serve([cut], counting, [express, 'stream']);
    const call = createFetch({ credentials: key, audience: AUDIENCE });
    await expect(call(url, { method: 'POST', body: '{"scopes":[]}' })).rejects.toThrow(
      'fetch failed',
    );
    expect(begun).toBe(0);
  });

  it('are borrowed again if a server does not know them any more', async () => {
    const { keys, key, origin, url } = await serve();
    const credentials = sessionCredentials({ url, credentials: key, audience: AUDIENCE });
    const dispatcher = new Agent().compose(
      signing({ credentials, audience: AUDIENCE, origins: [origin] }),
    );
    const calls = {
      fetch: createFetch({ credentials, audience: AUDIENCE }),
      undici: async (target: string) => {
        const { statusCode, body } = await request(target, { dispatcher });
        return { status: statusCode, json: () => body.json() };
      },
    };
    const ids = new Set<string>();
    for (const call of Object.values(calls)) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, async () => {
          const answer = await call(`${origin}/whoami`);
          expect(answer.status).toBe(200);
          return (await answer.json()) as Identity;
        }),
      );
      for (const { accessKeyId } of answers) ids.add(accessKeyId);
      await keys.revoke({ everybody: 'sessions' });
    }
    expect(ids.size).toBe(2);
  });

  it('say why nothing is lent', async () => {
    const { keys, key, url } = await serve();
    const ask = (options: object) =>
      sessionCredentials({ url, credentials: key, audience: AUDIENCE, ...options })();
    await expect(ask({ scopes: ['c'] })).rejects.toThrow(/answered 403, "scope-missing"/);
    await expect(ask({ ttl: 1e9 })).rejects.toThrow(/answered 400, .*ttl/);
    const call = createFetch({ credentials: key, audience: AUDIENCE });
    for (const body of ['{', '[]', '"', '{"scopes":"a"}', '{"scope":["a"]}', '{"ttl":"1"}']) {
      const answer = await call(url, { method: 'POST', body });
      expect(answer.status, body).toBe(400);
      expect(answer.headers.get('cache-control')).toBe('no-store');
    }
    const long = await call(url, { method: 'POST', body: 'x'.repeat(20_000) });
    expect([long.status, await long.json()]).toMatchObject([413, { reason: 'body-too-large' }]);
    await keys.disable(key.accessKeyId);
    await expect(ask({})).rejects.toThrow(/answered 401, "signature-invalid"/);
  });

  it('are not lent where revocations cannot be remembered', async () => {
    const { origin, url, key } = await serve([], {
      beginSession: () => Promise.reject(new Error('The store is down')),
      isSessionRevoked: async () => true,
    });
    const call = createFetch({ credentials: key, audience: AUDIENCE });
    const refused = await call(url, { method: 'POST' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    expect(await refused.text()).not.toContain('The store is down');
    expect((await call(`${origin}/whoami`)).status).toBe(200);
  });

  it('do not send a secret over a wire that others read', async () => {
    const { key } = await serve();
    const of = (url: string, options = {}) =>
      sessionCredentials({ url, credentials: key, audience: AUDIENCE, ...options });
    expect(() => of('http://api.example.com/session')).toThrow('expected https');
    expect(() => of('http://alice:hunter2@api.test/')).toThrow(
      /"http:\/\/api.test": expected https/,
    );
    const { origin } = await serve();
    const wrong = of(`${origin.replace('//', '//alice:hunter2@')}/none?a=b`)();
    await expect(wrong).rejects.toThrow(`from "${origin}/none?a=b": it answered 404`);
    expect(() => of('/session')).toThrow('expected an absolute URL');
    expect(() => of('https://api.test/', { timeout: Number.NaN })).toThrow('"timeout"');
    expect(() => of('https://api.test/', { transport: 'http' })).toThrow('"transport"');
    expect(() => of('https://api.test/', { audience: 'a b' })).toThrow('"audience"');
    expect(() => sessionEndpoint({} as Sessions)).toThrow('expected what createSessions() gives');
    expect(() => sessionEndpoint({ lend() {} } as never, { transport: 'no' as 'tls' })).toThrow(
      '"transport"',
    );
  });

  it('say so where what comes back is something else, or does not come', async () => {
    const { key } = await serve();
    const { origin } = await listen((req, res) => {
      req.resume();
      res.writeHead(200, { 'content-type': 'text/html' });
      if (req.url === '/page') res.end('<p>Please log in</p>');
      else if (req.url === '/stalled') res.write('{');
      else res.write('{', () => res.destroy());
    });
    const ask = (path: string, timeout = 30) =>
      sessionCredentials({ url: origin + path, credentials: key, audience: AUDIENCE, timeout })();
    await expect(ask('/page')).rejects.toThrow(/it answered 200, "no credentials"$/);
    await expect(ask('/stalled', 0.3)).rejects.toThrow(/aborted due to timeout/);
    // Of fetch itself: it is not said that something was answered.
    await expect(ask('/cut')).rejects.toThrow('terminated');
  });

  it('are waited for no longer than the caller wants', async () => {
    const { key, origin } = await serve();
    const hangs = () => new Promise<never>(() => undefined);
    const options = { credentials: hangs, audience: AUDIENCE };
    const credentials = sessionCredentials({ ...options, url: `${origin}/session`, timeout: 0.05 });
    await expect(within(credentials(), 'an answer')).rejects.toThrow(/aborted due to timeout/);
    const call = createFetch({ credentials: hangs, audience: AUDIENCE });
    const signal = AbortSignal.abort(new Error('The window was closed'));
    await expect(within(call(origin, { signal }), 'an answer')).rejects.toThrow(
      'The window was closed',
    );
    // Also where the credentials were refused, and others are asked for.
    const window = new AbortController();
    const refused = createFetch({
      audience: AUDIENCE,
      credentials: (id) => {
        if (id === undefined)
          return { ...key, secretAccessKey: 'x'.repeat(10) + key.secretAccessKey };
        window.abort(new Error('The window was closed'));
        return hangs();
      },
    });
    const refusal = refused(`${origin}/whoami`, { signal: window.signal });
    await expect(within(refusal, 'an answer')).rejects.toThrow('The window was closed');
  });

  it('renew in time, one request at a time, and live on where that fails', async () => {
    let now = NOW;
    let asked = 0;
    let isDown = false;
    const answer = (): Response => {
      asked++;
      if (isDown) return new Response('down', { status: 502 });
      return Response.json({
        accessKeyId: `CSSK${asked}`,
        secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
        sessionToken: 'token',
        expiresAt: NOW + 60 + 540 * asked,
      });
    };
    const credentials = sessionCredentials({
      url: 'https://api.test/session',
      credentials: {
        accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
        secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
      },
      audience: AUDIENCE,
      clock: () => now,
      fetch: async () => answer(),
    });
    const ids = async (count: number) =>
      new Set(
        (await Promise.all(Array.from({ length: count }, credentials))).map((it) => it.accessKeyId),
      );
    expect(await ids(20)).toEqual(new Set(['CSSK1']));
    now = NOW + 540;
    expect(await ids(20)).toEqual(new Set(['CSSK1']));
    now = NOW + 570;
    expect(await ids(20)).toEqual(new Set(['CSSK2']));
    expect(asked).toBe(2);
    isDown = true;
    now = NOW + 1_080;
    for (let second = 0; second < 60; second += 1, now += 1)
      expect(await ids(5)).toEqual(new Set(['CSSK2']));
    // Not with each call: once in five seconds at most.
    expect(asked).toBeGreaterThan(2);
    expect(asked).toBeLessThanOrEqual(2 + 12);
    await expect(credentials()).rejects.toThrow('answered 502');
    isDown = false;
    const last = asked;
    expect(await ids(20)).toEqual(new Set([`CSSK${last + 1}`]));
  });
});
