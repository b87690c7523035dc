import { createSigner, type SignerOptions, type UnsignedRequest } from '@countersign/client';
import {
  type AccessKey,
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
  type Verifier,
  type VerifierOptions,
} from '@countersign/server';
import { expect } from 'vitest';

/** Unix seconds at which every test takes place. */
export const NOW = 1_795_299_926;
export const AUDIENCE = 'video-api';
export const ORIGIN = 'https://api.example.com';

/** A request as a server receives it, with every part open to attack. */
export interface Received {
  method: string;
  url: string;
  headers: [name: string, value: string][];
  body?: Uint8Array | undefined;
}

/** An API with one access key, at `NOW`. Its nonce store is old enough to be certain. */
export function createApi(
  options: Partial<VerifierOptions> = {},
  changes: Partial<AccessKey> = {},
) {
  const key = { ...generateAccessKey({ subject: 'alice', scopes: ['videos:parse'] }), ...changes };
  const clock = options.clock ?? (() => NOW);
  const keys = new MemoryKeyStore([key], clock);
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys,
    nonces: new MemoryNonceStore({ clock, bornAt: 0 }),
    clock,
    ...options,
  });
  return { key, keys, verifier, ...signerFor(key) };
}

/** Signs as the owner of a key would, and gives the request as the server receives it. */
export function signerFor({
  accessKeyId,
  secretAccessKey,
}: Pick<AccessKey, 'accessKeyId' | 'secretAccessKey'>) {
  const signerWith = (options: Partial<SignerOptions>) =>
    createSigner({
      credentials: { accessKeyId, secretAccessKey },
      audience: AUDIENCE,
      clock: () => NOW,
      ...options,
    });
  return {
    async sign(
      given: Partial<UnsignedRequest> & { target?: string } = {},
      options: Partial<SignerOptions> = {},
    ): Promise<Received> {
      const { target = '/VideoParser/?lang=en', ...request } = given;
      const signed = await signerWith(options).sign({
        method: 'POST',
        url: ORIGIN + target,
        body: { videoUrl: 'https://videos.example.net/cats.mp4' },
        ...request,
      });
      const headers: [string, string][] = [
        ['host', new URL(ORIGIN).host],
        ...Object.entries(signed.headers),
      ];
      return {
        method: signed.method,
        url: signed.url.slice(ORIGIN.length),
        headers,
        body: signed.body as Uint8Array | undefined,
      };
    },
    async presign(
      expiresIn: number,
      given: { method?: string; target?: string } = {},
      options: Partial<SignerOptions> = {},
    ): Promise<Received> {
      const { method = 'GET', target = '/videos/42?format=mp4' } = given;
      const url = await signerWith(options).presign({ method, url: ORIGIN + target, expiresIn });
      return { method, url: url.slice(ORIGIN.length), headers: [['host', new URL(ORIGIN).host]] };
    },
  };
}

export const ACCEPTED = 'accepted';

/** The code with which a request is refused, or `ACCEPTED`. */
export async function outcome(verifier: Verifier, request: Received): Promise<string> {
  try {
    await verifier.verify(request);
    return ACCEPTED;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** Expects that a good request is refused after the change, and accepted without it. */
export async function expectRefused(
  code: string,
  change: (request: Received) => Received,
): Promise<void> {
  const { sign, verifier } = createApi();
  const request = await sign();
  expect(await outcome(verifier, change(request))).toBe(code);
  expect(await outcome(verifier, request), 'the request itself is good').toBe(ACCEPTED);
}

export const header = (request: Received, name: string): string =>
  request.headers.find(([found]) => found === name)?.[1] ?? '';

export const withHeader = (request: Received, name: string, value: string): Received => ({
  ...request,
  headers: [...request.headers.filter(([found]) => found !== name), [name, value]],
});

export const withoutHeader = (request: Received, name: string): Received => ({
  ...request,
  headers: request.headers.filter(([found]) => found !== name),
});

export const addHeader = (request: Received, name: string, value: string): Received => ({
  ...request,
  headers: [...request.headers, [name, value]],
});

export const retarget = (request: Received, change: (target: string) => string): Received => ({
  ...request,
  url: change(request.url),
});
