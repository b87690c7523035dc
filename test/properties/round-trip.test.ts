import { createSigner, SignatureError } from '@countersign/client';
import { parseTarget } from '@countersign/shared';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  audience,
  body,
  buildVerifier,
  clock,
  credentials,
  headers,
  judge,
  method,
  patience,
  runs,
  target,
} from './support.ts';

vi.setConfig({ testTimeout: patience });

const verifier = buildVerifier();
const signer = createSigner({
  credentials,
  audience,
  clock,
  signedHeaders: ['accept', '__proto__', 'constructor'],
});
const host = fc.constantFrom('api.test', 'API.test:8443', '[::1]:8080', 'bücher.test', '127.0.0.1');

/** What a server sees of a URL. */
const splitUrl = (url: string): { host: string; url: string } => {
  const parsed = new URL(url);
  expect(url).toBe(parsed.origin + parsed.pathname + parsed.search);
  return { host: parsed.host, url: parsed.pathname + parsed.search };
};

/** Whether a server would refuse the target, however it were signed. */
function isRefused(url: string): boolean {
  const { pathname, search } = new URL(url);
  try {
    parseTarget(pathname + search);
    return false;
  } catch (error) {
    expect(error).toBeInstanceOf(SignatureError);
    return true;
  }
}

describe('sign()', () => {
  it('signs every request so that the verifier accepts it, or refuses what the verifier refuses', async () => {
    let accepted = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(
        method,
        host,
        target,
        headers,
        body,
        async (verb, at, path, fields, content) => {
          const url = `https://${at}${path}`;
          const signed = await signer
            .sign({ method: verb, url, headers: fields, body: content })
            .catch((error: unknown) => error);
          if (signed instanceof Error) {
            expect(signed).toMatchObject({ code: 'ERR_TARGET_AMBIGUOUS' });
            expect(isRefused(url)).toBe(true);
            refused += 1;
            return;
          }
          const {
            method: sent,
            url: sentTo,
            headers: sentHeaders,
            body: bytes,
          } = signed as Awaited<ReturnType<typeof signer.sign>>;
          const seen = splitUrl(sentTo);
          const received = {
            method: sent,
            url: seen.url,
            headers: [...Object.entries(sentHeaders), ['Host', seen.host]] as [string, string][],
            body: bytes as Uint8Array | undefined,
          };
          expect(await judge(verifier, received)).toBe('accepted');
          accepted += 1;
        },
      ),
      runs(10_000),
    );
    // Both happen often enough to mean something.
    expect(Math.min(accepted, refused) / (accepted + refused)).toBeGreaterThan(0.1);
  });
});

describe('presign()', () => {
  it('signs every URL so that the verifier accepts it, or refuses what the verifier refuses', async () => {
    await fc.assert(
      fc.asyncProperty(
        method,
        host,
        target,
        headers,
        fc.integer({ min: 1, max: 3_600 }),
        async (verb, at, path, fields, expiresIn) => {
          const url = `https://${at}${path}`;
          const presigned = await signer
            .presign({ method: verb, url, headers: fields, expiresIn })
            .catch((error: unknown) => error);
          if (presigned instanceof Error) {
            expect(isRefused(url)).toBe(true);
            return;
          }
          const seen = splitUrl(presigned as string);
          expect(
            await judge(verifier, {
              method: verb.toUpperCase(),
              url: seen.url,
              headers: [...fields, ['host', seen.host]],
            }),
          ).toBe('accepted');
        },
      ),
      runs(5_000),
    );
  });
});
