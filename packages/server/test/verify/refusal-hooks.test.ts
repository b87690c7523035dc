import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createSigner } from '@countersign/client';
import {
  createVerifier,
  type Explanation,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
  type NonceStore,
} from '@countersign/server';
import { type CallbackRefusal, createCallbackVerifier } from '@countersign/server/callbacks';
import { requireCallback, requireSignature } from '@countersign/server/express';
import * as fetchAdapter from '@countersign/server/fetch';
import { verifyUpgrade, withCallback, withSignature } from '@countersign/server/node';
import express from 'express';
import { describe, expect, it, onTestFinished } from 'vitest';
import { until } from '../../../../test/support/deadline.ts';

const SECRETS = ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'];
const key = generateAccessKey({ subject: 'alice' });
const signer = createSigner({ credentials: key, audience: 'video-api' });

function told() {
  const seen: (Explanation | CallbackRefusal)[] = [];
  const onRefused = (it: Explanation | CallbackRefusal) => void seen.push(it);
  const options = (nonces: NonceStore = new MemoryNonceStore({ bornAt: 0 })) => ({
    audience: 'video-api',
    keys: new MemoryKeyStore([key]),
    nonces,
    onRefused,
  });
  return { seen, onRefused, options };
}

/** Sends a request without a signature. */
async function call(
  listener: RequestListener | undefined,
  headers: Record<string, string> = {},
  onServer: (server: ReturnType<typeof createServer>) => void = () => undefined,
): Promise<number | undefined> {
  const server = listener === undefined ? createServer() : createServer(listener);
  onServer(server);
  onTestFinished(() => void server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const sent = request({ port, host: '127.0.0.1', method: 'POST', headers, agent: false });
  sent.end();
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  answer.resume();
  await once(answer, 'end');
  return answer.statusCode;
}

describe('onRefused of a verifier, without a failure limit', () => {
  const never = () => {
    throw new Error('an unsigned request was accepted');
  };

  it('is told the address of the connection by Express', async () => {
    const { seen, options } = told();
    await call(express().use(requireSignature(options()), never));
    expect(seen).toMatchObject([{ code: 'ERR_SIGNATURE_MISSING', clientAddress: '127.0.0.1' }]);
  });

  it('is told what a proxy says that Express trusts', async () => {
    const { seen, options } = told();
    const app = express().set('trust proxy', 'loopback').use(requireSignature(options()), never);
    await call(app, { 'x-forwarded-for': '203.0.113.7' });
    expect(seen).toMatchObject([{ clientAddress: '203.0.113.7' }]);
  });

  it('is told the address of the connection by node:http', async () => {
    const { seen, options } = told();
    await call(withSignature(never, options()));
    expect(seen).toMatchObject([{ clientAddress: '127.0.0.1' }]);
  });

  it('is told what the application says, by node:http', async () => {
    const { seen, options } = told();
    await call(withSignature(never, { ...options(), clientAddress: () => '203.0.113.7' }));
    expect(seen).toMatchObject([{ clientAddress: '203.0.113.7' }]);
  });

  it('is told the address of a connection that is to be upgraded', async () => {
    const { seen, options } = told();
    const headers = { connection: 'upgrade', upgrade: 'websocket' };
    const upgrade = verifyUpgrade(never, options());
    await call(undefined, headers, (server) => void server.on('upgrade', upgrade));
    expect(seen).toMatchObject([{ clientAddress: '127.0.0.1' }]);
  });

  it('is told what the application says, by fetch handlers, and nothing without that', async () => {
    const { seen, options } = told();
    const unsigned = () => new Request('https://api.test/');
    const clientAddress = () => '203.0.113.7';
    await fetchAdapter.withSignature(never, { ...options(), clientAddress })(unsigned());
    await fetchAdapter.withSignature(never, options())(unsigned());
    expect(seen.map(({ clientAddress }) => clientAddress)).toEqual(['203.0.113.7', undefined]);
  });

  it.each<[unknown, string | undefined]>([
    ['2001:db8::1%eth0', '2001:db8::1%eth0'],
    ['a\r\nforged: line', '"a\\r\\nforged: line"'],
    ['a'.repeat(500), `"${'a'.repeat(96)}…"`],
    ['', undefined],
    [7, undefined],
    [Promise.resolve('203.0.113.7'), undefined],
  ])('is told of the address %o: %o', async (clientAddress, expected) => {
    const { seen, options } = told();
    const verifier = createVerifier(options());
    const received = { method: 'GET', url: '/', headers: { host: 'api.test' } };
    await expect(
      verifier.verify({ ...received, clientAddress: clientAddress as string }),
    ).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISSING',
    });
    expect(seen[0]?.clientAddress).toBe(expected);
  });

  it('is told the address of a request that cannot even be read', async () => {
    const { seen, options } = told();
    const received = {
      method: 'GET',
      url: '/../',
      headers: { host: 'api.test' },
      clientAddress: '::1',
    };
    await expect(createVerifier(options()).verify(received)).rejects.toMatchObject({
      code: 'ERR_TARGET_AMBIGUOUS',
    });
    expect(seen).toMatchObject([{ clientAddress: '::1' }]);
  });

  it.each(['replayed', 'uncertain', 'exhausted'] as const)(
    'is told the epoch of the store, and the one that was echoed, of a nonce that is %s',
    async (outcome) => {
      const claim = async () => ({ outcome, epoch: 'the-present', retryAfter: 3, limit: 1 });
      const { seen, options } = told();
      const verifier = createVerifier(options({ claim } as NonceStore));
      const signing = { method: 'GET', url: 'https://api.test/', epoch: 'an-older' };
      const { headers } = await signer.sign(signing);
      const received = { method: 'GET', url: '/', headers: { host: 'api.test', ...headers } };
      await expect(verifier.verify(received)).rejects.toMatchObject({ epoch: 'the-present' });
      expect(seen).toMatchObject([{ epoch: 'the-present', echoedEpoch: 'an-older' }]);
    },
  );
});

describe('onRefused of a callback verifier', () => {
  const never = () => {
    throw new Error('an unsigned callback was accepted');
  };

  it('is told the address of the connection by Express', async () => {
    const { seen, onRefused } = told();
    const verifier = createCallbackVerifier({ secrets: SECRETS, onRefused });
    const app = express().set('trust proxy', 'loopback').use(requireCallback(verifier), never);
    await call(app, { 'x-forwarded-for': '203.0.113.7' });
    expect(seen).toMatchObject([{ clientAddress: '203.0.113.7' }]);
  });

  it('is told the address of the connection by node:http', async () => {
    const { seen, onRefused } = told();
    await call(withCallback(never, { secrets: SECRETS, onRefused }));
    await until(() => seen.length > 0, 'onRefused was not called');
    expect(seen).toMatchObject([{ clientAddress: '127.0.0.1' }]);
  });

  it('is told no address by fetch handlers that know none', async () => {
    const { seen, onRefused } = told();
    const receive = fetchAdapter.withCallback(never, { secrets: SECRETS, onRefused });
    await receive(new Request('https://api.test/', { method: 'POST', body: '{}' }));
    expect(seen).toMatchObject([{ code: 'ERR_SIGNATURE_MISSING', clientAddress: undefined }]);
  });

  it('is told what the caller of the verifier says', async () => {
    const { seen, onRefused } = told();
    const verifier = createCallbackVerifier({ secrets: SECRETS, onRefused });
    await expect(verifier.verify({ headers: {}, clientAddress: 'a\nb' })).rejects.toMatchObject({
      code: 'ERR_SIGNATURE_MISSING',
    });
    expect(seen).toMatchObject([{ clientAddress: '"a\\nb"' }]);
  });
});
