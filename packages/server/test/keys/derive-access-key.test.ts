import { inspect } from 'node:util';
import { createSigner } from '@countersign/client';
import {
  createVerifier,
  type DerivedAccessKey,
  deriveAccessKey,
  generateAccessKey,
  MemoryNonceStore,
} from '@countersign/server';
import { describe, expect, it } from 'vitest';

const AUDIENCE = 'video-api';
/** 2026-11-21 22:25:26 UTC. */
const NOW = 1_795_299_926;
const DAY = 86_400;
const key = generateAccessKey({ subject: 'alice', scopes: ['videos:parse'] });

/** What a verifier at the edge says, to which keys come without their secrets. */
async function judge(
  derived: DerivedAccessKey | undefined,
  { now = NOW, audience = AUDIENCE, secretAccessKey = key.secretAccessKey } = {},
): Promise<string> {
  const asked: string[] = [];
  const verifier = createVerifier({
    audience,
    keys: {
      find: async (_, scope) => {
        asked.push(scope);
        return derived;
      },
    },
    nonces: new MemoryNonceStore({ clock: () => now, bornAt: 0 }),
    clock: () => now,
  });
  const signer = createSigner({
    credentials: { ...key, secretAccessKey },
    audience,
    clock: () => now,
  });
  const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
  const received = { method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } };
  const verdict = await verifier.verify(received).then(
    ({ subject, scopes }) => `${subject} ${scopes}`,
    ({ code }) => code as string,
  );
  const day = new Date(now * 1000).toISOString().slice(0, 10).replaceAll('-', '');
  expect(asked).toEqual([`${day}/${audience}/countersign1_request`]);
  return verdict;
}

describe('deriveAccessKey()', () => {
  const derived = deriveAccessKey(key, { audience: AUDIENCE, day: NOW });

  it('lets a verifier check signatures without the secret', async () => {
    expect(await judge(derived)).toBe('alice videos:parse');
    expect(await judge(derived, { now: NOW + DAY })).toBe('alice videos:parse');
    const other = generateAccessKey();
    expect(await judge(derived, other)).toBe('ERR_SIGNATURE_MISMATCH');
    expect(inspect(derived, { depth: 9 })).not.toContain(key.secretAccessKey);
    expect(JSON.stringify(derived)).not.toContain(key.secretAccessKey);
  });

  it('is good for its days and its audience only', async () => {
    for (const now of [NOW - DAY, NOW + 2 * DAY])
      expect(await judge(derived, { now })).toBe('ERR_KEY_INACTIVE');
    expect(await judge(derived, { audience: 'other-api' })).toBe('ERR_KEY_INACTIVE');
    const today = deriveAccessKey(key, { audience: AUDIENCE, day: NOW, days: 1 });
    expect(Object.keys(today.signingKeys)).toEqual(['20261121/video-api/countersign1_request']);
    // A key of another day under the name of this one signs nothing.
    const [tomorrow] = Object.values(
      deriveAccessKey(key, { audience: AUDIENCE, day: NOW + DAY }).signingKeys,
    );
    const forged = {
      ...today,
      signingKeys: { '20261121/video-api/countersign1_request': tomorrow as Uint8Array },
    };
    expect(await judge(forged)).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('leaves the metadata as it is', async () => {
    expect(await judge({ ...derived, status: 'disabled' })).toBe('ERR_KEY_INACTIVE');
    expect(await judge({ ...derived, expiresAt: NOW })).toBe('ERR_KEY_INACTIVE');
    expect(await judge({ ...derived, audiences: ['other-api'] })).toBe('ERR_KEY_INACTIVE');
    expect(await judge({ ...derived, audiences: 'video-api-2' as never })).toBe('ERR_KEY_INACTIVE');
    expect(await judge({ ...derived, signedSince: NOW + 1 })).toBe('ERR_KEY_INACTIVE');
    expect(await judge({ ...derived, signedSince: Number.NaN })).toBe('ERR_KEY_INACTIVE');
  });

  it.each([
    ['too short', new Uint8Array(31)],
    ['empty', new Uint8Array()],
    ['text', 'x'.repeat(32)],
    ['a list', Array(32).fill(0)],
    ['nothing', undefined],
  ])('is refused by a verifier where a signing key is %s', async (_, wrong) => {
    const signingKeys = { '20261121/video-api/countersign1_request': wrong as Uint8Array };
    expect(await judge({ ...derived, signingKeys })).toBe('ERR_KEY_INACTIVE');
  });

  it.each([
    ['an empty secret', { secretAccessKey: '' }, {}, 'it has 0 bytes, at least 16 are needed'],
    ['no secret', { secretAccessKey: undefined }, {}, 'expected text, got undefined'],
    ['an audience that is none', {}, { audience: 'a b' }, 'for audience "a b": expected the name'],
    ['no audience', {}, { audience: undefined }, 'for audience undefined: expected the name'],
  ])('refuses %s: an attacker could derive its keys', (_, changes, options, why) => {
    const wrong = { ...key, ...changes } as typeof key;
    const given = { audience: AUDIENCE, ...options } as { audience: string };
    expect(() => deriveAccessKey(wrong, given)).toThrow(
      expect.objectContaining({ name: 'TypeError', message: expect.stringContaining(why) }),
    );
  });

  it('refuses days that are none', () => {
    for (const days of [0, 32, 1.5, Number.NaN])
      expect(() => deriveAccessKey(key, { audience: AUDIENCE, days })).toThrow(
        new RangeError(`Cannot derive access key for ${days} days: expected 1 to 31`),
      );
    const scopes = Object.keys(deriveAccessKey(key, { audience: AUDIENCE }).signingKeys);
    const today = new Date().toISOString().slice(0, 10).replaceAll('-', '');
    // Unless it became midnight just now.
    expect([scopes[0]?.slice(0, 8), scopes[1]?.slice(0, 8)]).toContain(today);
  });
});
