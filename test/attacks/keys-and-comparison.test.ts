import { createHmac } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { createSigner } from '@countersign/client';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
  type SignatureError,
} from '@countersign/server';
import { createFailureLimit } from '@countersign/server/failures';
import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
import { describe, expect, it, onTestFinished } from 'vitest';
import {
  ACCEPTED,
  AUDIENCE,
  createApi,
  expectRefused,
  header,
  NOW,
  outcome,
  type Received,
  retarget,
  signerFor,
  withHeader,
  withoutHeader,
} from '../support/api.ts';

describe('keys and comparison', () => {
  it('K1: the algorithm is not the request’s to choose', async () => {
    for (const [algorithm, code] of [
      ['none', 'ERR_SIGNATURE_MISSING'],
      // Whatever begins as ours is ours.
      ['COUNTERSIGN1-NONE', 'ERR_SIGNATURE_MALFORMED'],
      ['countersign1-hmac-sha256', 'ERR_SIGNATURE_MALFORMED'],
      ['COUNTERSIGN1-HMAC-SHA1', 'ERR_SIGNATURE_MALFORMED'],
      ['COUNTERSIGN1-', 'ERR_SIGNATURE_MALFORMED'],
      // The length of its signatures is another.
      ['COUNTERSIGN1-ED25519', 'ERR_SIGNATURE_MALFORMED'],
    ] as const) {
      await expectRefused(code, (request) =>
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace('COUNTERSIGN1-HMAC-SHA256', algorithm),
        ),
      );
    }
    const { presign, verifier } = createApi();
    const unsigned = retarget(await presign(60), (target) =>
      target.replace('COUNTERSIGN1-HMAC-SHA256', 'none'),
    );
    expect(await outcome(verifier, unsigned)).toBe('ERR_SIGNATURE_MALFORMED');
    // A record without a secret, such as one that holds a public key, is no HMAC key.
    const { accessKeyId } = generateAccessKey();
    const keys = {
      find: async () =>
        ({
          accessKeyId,
          publicKey: 'x'.repeat(44),
          subject: 'x',
          scopes: [],
          status: 'active',
        }) as never,
    };
    const api = createApi({ keys });
    expect(
      await outcome(
        api.verifier,
        await signerFor({ accessKeyId, secretAccessKey: 'qwertyuiopasdfgh12' }).sign(),
      ),
    ).toBe('ERR_KEY_INACTIVE');
  });

  it('K2: a signature is 64 digits of lower-case hex, all of which count', async () => {
    const bad: ((hex: string) => string)[] = [
      () => '',
      (hex) => hex.slice(0, 1),
      (hex) => hex.slice(0, 63),
      (hex) => `${hex}0`,
      (hex) => hex.toUpperCase(),
      (hex) => `${hex.slice(0, 63)}g`,
      (hex) => `0x${hex.slice(2)}`,
      (hex) => ` ${hex.slice(1)}`,
      (hex) => Buffer.from(hex, 'hex').toString('base64'),
      (hex) => hex.repeat(100),
      () => 'é'.repeat(64),
    ];
    for (const change of bad) {
      await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace(/(?<=Signature=).*$/, change),
        ),
      );
    }
    for (let digit = 0; digit < 64; digit++) {
      await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
        withHeader(
          request,
          'authorization',
          header(request, 'authorization').replace(
            /(?<=Signature=).*$/,
            (hex) => hex.slice(0, digit) + (hex[digit] === '0' ? '1' : '0') + hex.slice(digit + 1),
          ),
        ),
      );
    }
  });

  it('K2: the signature of a presigned URL is written in one way', async () => {
    const { presign, verifier } = createApi();
    const request = await presign(60);
    const escaped = retarget(request, (target) =>
      target.replace(/.$/, (digit) => `%${digit.charCodeAt(0).toString(16)}`),
    );
    expect(await outcome(verifier, escaped)).toBe('ERR_SIGNATURE_MALFORMED');
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('K3: an unknown key takes the path of a known one, and has the same answer', async () => {
    const seen: string[] = [];
    const { key, sign, keys } = createApi();
    const find = (id: string) => {
      seen.push(id);
      return keys.find(id);
    };
    const verifier = createVerifier({
      audience: 'video-api',
      keys: { find },
      nonces: new MemoryNonceStore({ clock: () => NOW, bornAt: 0 }),
      clock: () => NOW,
    });
    const wrong = signerFor({ ...key, secretAccessKey: generateAccessKey().secretAccessKey });
    const unknown = signerFor(generateAccessKey());
    const errors = await Promise.all(
      [wrong, unknown].map(async (signer) =>
        verifier.verify(await signer.sign()).catch((error: SignatureError) => error),
      ),
    );
    for (const error of errors)
      expect(error).toMatchObject({ reason: 'signature-invalid', status: 401, retry: 'no' });
    expect(seen).toHaveLength(2);
    // The body of neither is looked at: its hash is judged only after the signature.
    const body = {
      bytes: () => {
        throw new Error('read');
      },
    };
    for (const signer of [wrong, unknown]) {
      const error = await verifier
        .verify({ ...(await signer.sign()), body })
        .catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ reason: 'signature-invalid' });
    }
    expect(await outcome(verifier, await sign())).toBe(ACCEPTED);
  });

  it('K4: a secret that is none is refused when it is stored and when it is used', async () => {
    for (const secretAccessKey of [
      '',
      'short',
      undefined,
      null,
      'x'.repeat(32),
      'changeme-changeme-changeme',
      'your-secret-key-goes-here',
      `${generateAccessKey().secretAccessKey}\n`,
      `"${generateAccessKey().secretAccessKey}"`,
      `\ufeff${generateAccessKey().secretAccessKey}`,
      1234567890123456,
      Buffer.alloc(32),
    ] as never[]) {
      const key = { ...generateAccessKey(), secretAccessKey };
      expect(() => new MemoryKeyStore([key]), String(secretAccessKey)).toThrow(
        'Cannot build access key: option "secretAccessKey" is ',
      );
      expect(
        () => createSigner({ credentials: key, audience: 'video-api' }),
        String(secretAccessKey),
      ).toThrow(/^Cannot sign with access key "\w+": its "secretAccessKey" is unusable: /);
      // A store of the application may not check. An attacker who knows that could sign.
      const api = createApi({ keys: { find: async () => key } });
      const forged = await signAnyway(key.accessKeyId, String(secretAccessKey ?? ''));
      expect(await outcome(api.verifier, forged), String(secretAccessKey)).toBe('ERR_KEY_INACTIVE');
    }
  });

  it('K5: a request without a signature is refused', async () => {
    await expectRefused('ERR_SIGNATURE_MISSING', (request) =>
      withoutHeader(request, 'authorization'),
    );
    await expectRefused('ERR_SIGNATURE_MISSING', (request) => ({
      ...request,
      headers: [['host', 'api.example.com']],
    }));
    await expectRefused('ERR_SIGNATURE_MISSING', (request) =>
      withHeader(request, 'authorization', ''),
    );
  });

  it('K6: a key that is disabled, expired or not valid yet is refused at once', async () => {
    for (const change of [
      { status: 'disabled' as const },
      { expiresAt: NOW },
      { notBefore: NOW + 1 },
      { expiresAt: Number.NaN },
      { notBefore: Number.NaN },
    ]) {
      const { key, keys, sign, verifier } = createApi();
      expect(await outcome(verifier, await sign())).toBe(ACCEPTED);
      const find = async (id: string) =>
        id === key.accessKeyId ? { ...key, ...change } : undefined;
      const changed = createApi({ keys: { find } });
      expect(await outcome(changed.verifier, await sign()), inspect(change)).toBe(
        'ERR_KEY_INACTIVE',
      );
      keys.delete(key.accessKeyId);
      expect(await outcome(verifier, await sign())).toBe('ERR_KEY_UNKNOWN');
    }
  });

  it('K7: no secret and no expected signature is shown, anywhere', async () => {
    const shown: unknown[] = [];
    const { key, keys, sign, verifier } = createApi({
      onRefused: (explanation) => shown.push(explanation),
    });
    const expected = header(
      await sign({}, { nonce: () => 'q83vASNFZ4mrze8BI0VniQ' }),
      'authorization',
    ).slice(-64);
    const request = await sign({}, { nonce: () => 'q83vASNFZ4mrze8BI0VniQ' });
    const wrong = withHeader(
      request,
      'authorization',
      header(request, 'authorization').replace(/Signature=.*/, `Signature=${'0'.repeat(64)}`),
    );
    shown.push(
      await verifier.verify(wrong).catch((error: unknown) => error),
      await verifier.explain(wrong),
      verifier,
      keys,
    );
    shown.push(
      createSigner({ credentials: key, audience: 'video-api' }),
      new MemoryKeyStore([key]),
    );
    const text = shown
      .map(
        (thing) =>
          inspect(thing, { depth: 9, showHidden: true }) +
          JSON.stringify(thing) +
          String((thing as Error).stack),
      )
      .join('\n');
    expect(text).toContain('ERR_SIGNATURE_MISMATCH');
    expect(text).not.toContain(key.secretAccessKey);
    expect(text).not.toContain(expected);
    const bad = { ...key, secretAccessKey: 'hunter2hunter2!' };
    for (const build of [
      () => new MemoryKeyStore([bad]),
      () => createSigner({ credentials: bad, audience: 'video-api' }),
    ]) {
      expect(build).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
      );
    }
  });

  it('K8: guessing is limited by where it comes from, so an attacker cannot lock a user out by failing in their name', async () => {
    const failures = createFailureLimit({ perKey: 5, perClientAddress: 20 });
    const { key, sign, verifier } = createApi({ failures });
    const from = (clientAddress: string, request: Received) => ({ ...request, clientAddress });
    const guess = async (accessKeyId: string, clientAddress: string): Promise<string> => {
      const { secretAccessKey } = generateAccessKey();
      const request = await signerFor({ accessKeyId, secretAccessKey }).sign();
      return outcome(verifier, from(clientAddress, request));
    };
    const guesses = (count: number, accessKeyId: () => string, clientAddress: string) =>
      Promise.all(Array.from({ length: count }, () => guess(accessKeyId(), clientAddress)));
    const howMany = (ends: string[], code: string) => ends.filter((end) => end === code).length;

    const atOne = await guesses(50, () => key.accessKeyId, '192.0.2.66');
    expect(howMany(atOne, 'ERR_SIGNATURE_MISMATCH')).toBe(5);
    expect(howMany(atOne, 'ERR_TOO_MANY_FAILURES')).toBe(45);
    // Not even a right guess is told from a wrong one any more.
    expect(await outcome(verifier, from('192.0.2.66', await sign()))).toBe('ERR_TOO_MANY_FAILURES');

    const atMany = await guesses(50, () => generateAccessKey().accessKeyId, '192.0.2.66');
    expect(howMany(atMany, 'ERR_KEY_UNKNOWN')).toBe(15);
    expect(howMany(atMany, 'ERR_TOO_MANY_FAILURES')).toBe(35);

    // A thousand addresses of one network are one client address, written in whatever way.
    const addresses = Array.from({ length: 1000 }, (_, index) => `2001:db8::${index.toString(16)}`);
    const spread = await Promise.all(
      addresses.map((clientAddress) => guess(key.accessKeyId, clientAddress)),
    );
    expect(howMany(spread, 'ERR_SIGNATURE_MISMATCH')).toBe(5);
    for (const same of ['::ffff:192.0.2.66', '::FFFF:C000:0242', '192.0.2.66:50000'])
      expect(await guess(key.accessKeyId, same)).toBe('ERR_TOO_MANY_FAILURES');

    // The owner of the key is served, and the failures of others are not forgiven by that.
    for (const clientAddress of ['198.51.100.7', '2001:db8:0:1::1'])
      expect(await outcome(verifier, from(clientAddress, await sign()))).toBe(ACCEPTED);
    expect(await guess(key.accessKeyId, '192.0.2.66')).toBe('ERR_TOO_MANY_FAILURES');
  });

  it('K9: a key store that has lost its records says so, and refuses no key as wrong', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'countersign-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const path = join(folder, 'keys.json');
    const open = () => {
      const store = new FileKeyStore({ path, masterKey: masterKeyFile(join(folder, 'key')) });
      onTestFinished(() => store.close());
      return store;
    };
    const codes: string[] = [];
    const onWarning = (warning: Error & { code?: string }) => void codes.push(warning.code ?? '');
    process.on('warning', onWarning);
    onTestFinished(() => void process.off('warning', onWarning));
    const keys = open();
    const key = await keys.create({ subject: 'alice' });
    const signer = createSigner({ credentials: key, audience: AUDIENCE });
    const verify = async (store: FileKeyStore) => {
      const { headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
      const nonces = new MemoryNonceStore({ bornAt: 0 });
      return createVerifier({ audience: AUDIENCE, keys: store, nonces })
        .verify({ method: 'GET', url: '/', headers: { host: 'api.test', ...headers } })
        .then(
          () => 'accepted',
          ({ code, status }) => `${status} ${code}`,
        );
    };
    expect(await verify(open())).toBe('accepted');
    await rm(path);
    expect(await verify(open())).toBe('503 ERR_KEY_STORE_FAILED');
    await new Promise(setImmediate);
    expect(codes).toContain('COUNTERSIGN_KEY_STORE_EMPTY');
    // One that was made by name has no keys, and knows that.
    await open().createEmpty();
    expect(await verify(open())).toBe('401 ERR_KEY_UNKNOWN');
  });
});

/** Signs with any secret at all, as an attacker would, who has only the wire format to go by. */
async function signAnyway(accessKeyId: string, secret: string): Promise<Received> {
  const { secretAccessKey } = generateAccessKey();
  const request = await signerFor({ accessKeyId, secretAccessKey }).sign();
  const explanation = await createVerifier({
    audience: 'video-api',
    keys: { find: async () => undefined },
    nonces: new MemoryNonceStore({ clock: () => NOW }),
    clock: () => NOW,
  }).explain(request);
  let key: Buffer | string = `COUNTERSIGN1${secret}`;
  for (const part of ['20261121', 'video-api', 'countersign1_request'])
    key = createHmac('sha256', key).update(part).digest();
  const signature = createHmac('sha256', key)
    .update(explanation.stringToSign ?? '')
    .digest('hex');
  return withHeader(
    request,
    'authorization',
    header(request, 'authorization').replace(/Signature=.*/, `Signature=${signature}`),
  );
}
