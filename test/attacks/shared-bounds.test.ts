import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createSigner, type Signer } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  generateMasterKey,
  type MasterKeyProvider,
  MemoryKeyStore,
  MemoryNonceStore,
  type VerifierOptions,
} from '@countersign/server';
import { checkCallbackUrl, createCallbackVerifier } from '@countersign/server/callbacks';
import { identityOf, requireSignature } from '@countersign/server/express';
import { createFailureLimit } from '@countersign/server/failures';
import { masterKeyFile } from '@countersign/server/file';
import { createSessions } from '@countersign/server/sessions';
import express from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';
import { AUDIENCE, listen, NOW } from '../../packages/server/test/http/sockets.ts';
import { ACCEPTED, createApi, outcome } from '../support/api.ts';

/** An API of several users, on a clock that is set by hand. */
function api(options: Partial<VerifierOptions> & { maxEntries?: number } = {}) {
  const clock = { now: NOW };
  const time = () => clock.now;
  const keyOf = (subject: string) => generateAccessKey({ subject });
  const [mallory, second, alice] = [keyOf('mallory'), keyOf('mallory'), keyOf('alice')];
  const keys = new MemoryKeyStore([mallory, second, alice], time);
  const { maxEntries = 1_000, ...more } = options;
  const nonces = new MemoryNonceStore({ clock: time, bornAt: 0, maxEntries });
  const verifier = createVerifier({ audience: AUDIENCE, keys, nonces, clock: time, ...more });

  const verify = (received: { url: string; headers: Record<string, string> }) =>
    verifier.verify({ method: 'GET', ...received, clientAddress: '192.0.2.1' }).then(
      () => 'accepted',
      (error) => error.code as string,
    );
  const signerOf = (credentials: Parameters<typeof createSigner>[0]['credentials'], ahead = 0) =>
    createSigner({ credentials, audience: AUDIENCE, clock: () => Math.floor(clock.now) + ahead });
  async function call(signer: Signer): Promise<string> {
    const { headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
    return verify({ url: '/', headers: { host: 'api.test', ...headers } });
  }
  async function open(signer: Signer, expiresIn = 3_600): Promise<string> {
    const url = new URL(await signer.presign({ url: 'https://api.test/', expiresIn }));
    return verify({ url: url.pathname + url.search, headers: { host: 'api.test' } });
  }
  return { clock, keys, verifier, mallory, second, alice, signerOf, call, open };
}

const tally = (outcomes: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
};

describe('no caller uses up what all callers share', () => {
  it('X3: one key that sends all it can, for as long as it likes, gets no other caller refused', async () => {
    for (const ahead of [0, 5]) {
      const { clock, mallory, second, alice, signerOf, call } = api();
      const hostile = [signerOf(mallory, ahead), signerOf(second, ahead)];
      const honest = signerOf(alice);
      const [refused, served]: [string[], string[]] = [[], []];
      // Five minutes: more than twice for as long as a nonce lives.
      for (; clock.now < NOW + 300; clock.now += 1) {
        for (let count = 0; count < 10; count++)
          refused.push(await call(hostile[count % 2] as Signer));
        served.push(await call(honest));
      }
      expect(tally(served)).toEqual({ accepted: 300 });
      // It gets what it may have, a quarter of the store for each two minutes and a bit, and no
      // more.
      const { accepted = 0, ...others } = tally(refused);
      expect(accepted).toBeGreaterThanOrEqual(500);
      expect(accepted).toBeLessThanOrEqual(750);
      expect(Object.keys(others)).toEqual(['ERR_TOO_MANY_REQUESTS']);
    }
  });

  it('X3: keys that were made without a subject have nothing in common', async () => {
    const { clock, keys, signerOf, call } = api();
    const [hostile, honest] = [await keys.create(), await keys.create()];
    const refused: string[] = [];
    for (let count = 0; count < 300; count++) refused.push(await call(signerOf(hostile)));
    expect(tally(refused)).toEqual({ accepted: 250, ERR_TOO_MANY_REQUESTS: 50 });
    clock.now += 1;
    expect(await call(signerOf(honest))).toBe('accepted');
  });

  it('X3: presigned URLs that are used once and live for an hour take no room from requests', async () => {
    const { clock, mallory, alice, signerOf, call, open } = api({ presignedUrls: 'once' });
    const [hostile, honest] = [signerOf(mallory), signerOf(alice)];
    const opened: string[] = [];
    for (let count = 0; count < 2_000; count++) opened.push(await open(hostile));
    expect(tally(opened)).toEqual({ accepted: 250, ERR_TOO_MANY_REQUESTS: 1_750 });
    for (const later of [0, 1, 60, 600, 3_500, 3_700]) {
      clock.now = NOW + later;
      expect(await call(honest)).toBe('accepted');
      expect(await call(hostile)).toBe('accepted');
      expect(await open(honest)).toBe('accepted');
    }
  });

  it('X3: sessions count for the key that they were lent on', async () => {
    const keys = new MemoryKeyStore();
    const sessions = createSessions({
      issuer: AUDIENCE,
      masterKey: generateMasterKey('2026'),
      revocations: keys,
    });
    // Sessions are dated by the system's clock.
    const now = Date.now() / 1000;
    const nonces = new MemoryNonceStore({ bornAt: now - 1_000, maxEntries: 40 });
    const verifier = createVerifier({ audience: AUDIENCE, keys, nonces, sessions });
    const outcomes: string[] = [];
    for (let count = 0; count < 20; count++) {
      const grant = { subject: 'mallory', scopes: [], audience: AUDIENCE };
      const signer = createSigner({ credentials: await sessions.issue(grant), audience: AUDIENCE });
      const { headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
      const received = { method: 'GET', url: '/', headers: { host: 'api.test', ...headers } };
      outcomes.push(
        await verifier.verify(received).then(
          () => 'accepted',
          (error) => error.code,
        ),
      );
    }
    expect(tally(outcomes)).toEqual({ accepted: 10, ERR_TOO_MANY_REQUESTS: 10 });
  });

  it('X3: the refusal says whose bound it is, and after how long there is room', async () => {
    const key = generateAccessKey({ subject: 'mallory' });
    const nonces = new MemoryNonceStore({ bornAt: 0, perSubject: 2 });
    const app = express();
    app.use(requireSignature({ audience: AUDIENCE, keys: new MemoryKeyStore([key]), nonces }));
    app.get('/', (request, response) => void response.json(identityOf(request).subject));
    const { origin } = await listen(app);
    const signer = createSigner({ credentials: key, audience: AUDIENCE });
    const answers = [];
    for (let count = 0; count < 3; count++) {
      const { headers, url } = await signer.sign({ method: 'GET', url: `${origin}/` });
      answers.push(await fetch(url, { headers }));
    }
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
    const refusal = answers[2] as Response;
    expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await refusal.json()).toMatchObject({
      type: 'urn:countersign:error:too-many-requests',
      reason: 'too-many-requests',
      retry: 'later',
      detail: expect.stringMatching(/subject "mallory" now: it has 2 .*perSubject/),
    });
  });

  it('X7: made-up names of master keys cost nothing, and block no session', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const file = masterKeyFile(join(folder, 'master-key'));
    await file(undefined);
    let asked = 0;
    const counted = async (id: string | undefined) => {
      asked++;
      return file(id);
    };
    const given = generateMasterKey('old');
    const providers: MasterKeyProvider[] = [counted, [generateMasterKey('new'), given]];
    for (const masterKey of providers) {
      const keys = new MemoryKeyStore();
      const options = { issuer: AUDIENCE, revocations: keys };
      const grant = { subject: 'alice', scopes: [], audience: AUDIENCE };
      const before = createSessions({
        ...options,
        masterKey: masterKey === counted ? counted : given,
      });
      const { sessionToken } = await before.issue(grant);
      // A server that has just started, after the rotation.
      const sessions = createSessions({ ...options, masterKey });
      asked = 0;
      for (let count = 0; count < 1_000; count++) {
        const header = Buffer.from(
          JSON.stringify({
            alg: 'dir',
            enc: 'A256GCM',
            typ: 'countersign-session+jwt',
            kid: `made-up-${count}`,
          }),
        ).toString('base64url');
        const token = `${header}..AAAAAAAAAAAAAAAA.${'A'.repeat(86)}.AAAAAAAAAAAAAAAAAAAAAA`;
        expect(await sessions.find(token)).toBeUndefined();
      }
      expect(await sessions.find(sessionToken)).toMatchObject({ subject: 'alice' });
      expect(asked).toBe(masterKey === counted ? 1 : 0);
    }
  });

  it('X8: pictures on a page of an attacker block no visitor, and no other caller behind the same address', async () => {
    const failures = createFailureLimit();
    const { mallory, alice, signerOf, call, open } = api({ failures });
    const guess = (accessKeyId: string) =>
      open(signerOf({ accessKeyId, secretAccessKey: generateAccessKey().secretAccessKey }));
    const guesses: string[] = [];
    for (let count = 0; count < 20; count++) guesses.push(await guess(alice.accessKeyId));
    for (let count = 0; count < 200; count++)
      guesses.push(await guess(generateAccessKey().accessKeyId));
    expect(tally(guesses)).toEqual({
      ERR_SIGNATURE_MISMATCH: 10,
      ERR_KEY_UNKNOWN: 90,
      ERR_TOO_MANY_FAILURES: 120,
    });
    expect(await call(signerOf(alice))).toBe('accepted');
    expect(await call(signerOf(mallory))).toBe('accepted');
  });

  it('X9: the length of a callback URL is checked before anything else of it', async () => {
    const forms = [
      'http://user@',
      'https://a.test/\\\\\t',
      '/////',
      'https://[::1]:1/#',
      'a'.repeat(10),
    ];
    for (const form of forms) {
      const text = form + '/\\'.repeat(1_000_000);
      await expect(checkCallbackUrl(text)).rejects.toMatchObject({
        code: 'ERR_CALLBACK_URL_REFUSED',
        message: `Cannot use callback URL: it has ${text.length} characters, 2048 are allowed`,
      });
    }
  });

  it('X12: more fields than the server reads are refused before anything is read of them', async () => {
    const code = async (fields: number, options = {}) => {
      const { sign, verifier } = createApi(options);
      const request = await sign();
      while (request.headers.length < fields)
        request.headers.push([`x-${request.headers.length}`, 'y']);
      return outcome(verifier, request);
    };
    expect(await code(100)).toBe(ACCEPTED);
    expect(await code(101)).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await code(101, { maxHeaderFields: 101 })).toBe(ACCEPTED);
    expect(await code(21, { maxHeaderFields: 20 })).toBe('ERR_SIGNATURE_MALFORMED');
    const body = Buffer.from('{}');
    const verifier = createCallbackVerifier({
      secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'],
    });
    const headers = Array.from({ length: 101 }, (_, at) => [`x-${at}`, 'y'] as const);
    await expect(verifier.verify({ headers, body })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MALFORMED',
      message: 'Cannot read 101 header fields, 100 are allowed',
    });
    await expect(verifier.verify({ headers: headers.slice(1), body })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISSING',
    });
  });
});
