import { createHmac, generateKeyPairSync, sign as signEd25519, verify } from 'node:crypto';
import {
  HeaderFields,
  type ResponseIntent,
  type Scheme,
  type SignableResponse,
  signResponse,
  type VerifyKey,
  verifyResponse,
} from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { plainScheme } from '../../../test/support/plain-scheme.ts';

const plain = plainScheme() as Scheme;
const NOW = 1_795_299_926;
const SECRET = 'mT0pQ7vYx2Zr8LwKc5Nd1H';
const BODY = '{"title":"cats"}';

const mac = (bytes: Uint8Array) => createHmac('sha256', SECRET).update(bytes).digest();
const key: VerifyKey = {
  algorithm: 'hmac-sha256',
  verify: (data, signature) => mac(data).equals(signature),
};

function responseTo(path: string, changes: Partial<SignableResponse> = {}): SignableResponse {
  const request = { method: 'GET', path, query: '', headers: new HeaderFields(['host', 'a.test']) };
  const body = { sha256: '' };
  const intent = { accessKeyId: 'CSAK1', audience: 'a', signedAt: NOW, nonce: path, body };
  const { params } = plain.prepare(request, intent);
  return {
    status: 200,
    headers: new HeaderFields(['Content-Type', 'application/json', 'Server', 'x']),
    request,
    signed: { params, signature: mac(plain.stringToSign(request, params)) },
    ...changes,
  };
}

async function signed(
  response = responseTo('/a'),
  { scheme = plain, body = BODY, intent = {} as Partial<ResponseIntent> } = {},
): Promise<SignableResponse> {
  const fields = await signResponse(
    scheme,
    response,
    body,
    { signedAt: NOW, ...intent },
    (_, __, bytes) => mac(bytes),
  );
  return { ...response, headers: response.headers.with(fields) };
}

const code = (act: () => unknown): string => {
  try {
    act();
    return 'accepted';
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
};

describe('verifyResponse()', () => {
  it('returns the params of the signature of a genuine response', async () => {
    const response = await signed();
    expect(verifyResponse(plain, response, BODY, key)).toMatchObject({
      signedAt: NOW,
      signedHeaders: ['content-type'],
    });
    expect(verifyResponse(plain, response, Buffer.from(BODY), key).signedAt).toBe(NOW);
  });

  it('refuses another status, header, body, request or key', async () => {
    const response = await signed();
    const changes: Partial<SignableResponse>[] = [
      { status: 201 },
      { headers: response.headers.with([['Content-Type', 'application/jsoN']]) },
      { signed: responseTo('/b').signed },
    ];
    for (const change of changes) {
      const act = () => verifyResponse(plain, { ...response, ...change }, BODY, key);
      expect(code(act)).toBe('ERR_SIGNATURE_MISMATCH');
    }
    expect(code(() => verifyResponse(plain, response, '{"title":"catz"}', key))).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
    const other: VerifyKey = { ...key, verify: () => false };
    expect(code(() => verifyResponse(plain, response, BODY, other))).toBe('ERR_SIGNATURE_MISMATCH');
    const sloppy: VerifyKey = { ...key, verify: () => 'yes' as never };
    expect(code(() => verifyResponse(plain, response, BODY, sloppy))).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
  });

  it('refuses a response that is not signed', () => {
    expect(code(() => verifyResponse(plain, responseTo('/a'), BODY, key))).toBe(
      'ERR_SIGNATURE_MISSING',
    );
  });

  it.each([
    ['the status', ['request']],
    ['the request', ['status']],
    ['anything', []],
    ['what it does not say', undefined],
  ] as const)('refuses a signature that does not cover %s', async (_, covers) => {
    const response = await signed();
    const { params, signature } = plain.responses?.read(response) ?? expect.unreachable();
    const read = () => ({ params: { ...params, covers }, signature });
    const silent = { ...plain, responses: { ...plain.responses, read } } as unknown as Scheme;
    expect(code(() => verifyResponse(silent, response, BODY, key))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
  });

  it('refuses an unsigned header that the program acts on', async () => {
    const response = await signed();
    expect(code(() => verifyResponse(plain, response, BODY, key, new Set(['server'])))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    const covering = await signed(responseTo('/a'), {
      intent: { signedHeaders: new Set(['server']) },
    });
    expect(code(() => verifyResponse(plain, covering, BODY, key, new Set(['server'])))).toBe(
      'accepted',
    );
    const untyped = await signed(responseTo('/a', { headers: new HeaderFields([]) }));
    const typed = { ...untyped, headers: untyped.headers.with([['content-type', 'text/html']]) };
    expect(code(() => verifyResponse(plain, typed, BODY, key))).toBe('ERR_COMPONENT_NOT_COVERED');
  });

  it('refuses an algorithm that the key is not for', async () => {
    const response = await signed(responseTo('/a'), { intent: { algorithm: 'ed25519' } });
    expect(code(() => verifyResponse(plain, response, BODY, key))).toBe('ERR_SIGNATURE_MISMATCH');
    const scheme: Scheme = { ...plain, algorithms: ['ed25519'] };
    const ours = await signed();
    expect(code(() => verifyResponse(scheme, ours, BODY, key))).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('verifies with a public key of the server', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const intent = { signedAt: NOW, algorithm: 'ed25519' } as const;
    const response = responseTo('/a');
    const makeSignature = async (_: unknown, __: unknown, bytes: Uint8Array) =>
      signEd25519(null, bytes, privateKey);
    const fields = await signResponse(plain, response, BODY, intent, makeSignature);
    const received = { ...response, headers: response.headers.with(fields) };
    const serverKey: VerifyKey = {
      algorithm: 'ed25519',
      verify: (data, signature) => verify(null, data, publicKey, signature),
    };
    expect(verifyResponse(plain, received, BODY, serverKey).algorithm).toBe('ed25519');
    expect(code(() => verifyResponse(plain, { ...received, status: 500 }, BODY, serverKey))).toBe(
      'ERR_SIGNATURE_MISMATCH',
    );
  });

  it('needs a scheme with a form for responses', () => {
    const scheme: Scheme = { ...plain, responses: undefined };
    const message = 'Cannot use a signed response: the scheme plain has no form for responses';
    expect(() => verifyResponse(scheme, responseTo('/a'), BODY, key)).toThrow(
      expect.objectContaining({ name: 'TypeError', message }),
    );
  });
});
