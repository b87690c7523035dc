import { createSigner } from '@countersign/client';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { createNonces } from '../../src/sign/nonce.ts';
import { audience, clock, credentials } from '../support.ts';

afterEach(() => vi.restoreAllMocks());

describe('createNonces()', () => {
  it('gives 16 bytes in base64url, never the same twice, across refills of its pool', () => {
    const nonce = createNonces();
    const seen = new Set(Array.from({ length: 5_000 }, nonce));
    expect(seen.size).toBe(5_000);
    for (const it of seen) expect(it).toMatch(/^[A-Za-z0-9_-]{21}[AQgw]$/);
  });

  it('gives each source a pool of its own', () => {
    const [one, two] = [createNonces(), createNonces()];
    expect(
      new Set([...Array.from({ length: 300 }, one), ...Array.from({ length: 300 }, two)]).size,
    ).toBe(600);
  });

  it('gives the bytes of crypto.getRandomValues() in their order, each once', () => {
    let next = 0;
    vi.spyOn(crypto, 'getRandomValues').mockImplementation((array) => {
      const bytes = array as unknown as Uint8Array;
      for (let index = 0; index < bytes.length; index++) bytes[index] = (next++ >> 4) & 0xff;
      return array;
    });
    const nonce = createNonces();
    const nonces = Array.from({ length: 256 }, nonce);
    expect(nonces).toEqual(
      Array.from({ length: 256 }, (_, byte) => Buffer.alloc(16, byte).toString('base64url')),
    );
  });

  it('gives nothing if there is no randomness, and recovers', () => {
    const random = vi.spyOn(crypto, 'getRandomValues').mockImplementationOnce(() => {
      throw new Error('no entropy');
    });
    const nonce = createNonces();
    expect(nonce).toThrow('no entropy');
    expect(nonce()).toMatch(/^[A-Za-z0-9_-]{22}$/);
    expect(random).toHaveBeenCalledTimes(2);
  });

  it('spreads over all bits', () => {
    const nonce = createNonces();
    const ones = new Array<number>(128).fill(0);
    for (let round = 0; round < 2_000; round++) {
      const bytes = Buffer.from(nonce(), 'base64url');
      for (let bit = 0; bit < 128; bit++)
        ones[bit] = (ones[bit] ?? 0) + (((bytes[bit >> 3] ?? 0) >> (bit & 7)) & 1);
    }
    // Ten standard deviations. A bit that never changes has 0 or 2,000.
    for (const count of ones) expect(Math.abs(count - 1_000)).toBeLessThan(224);
  });
});

describe('createSigner()', () => {
  it('signs with the nonce that the option gives', async () => {
    const nonces = ['A'.repeat(22), 'B'.repeat(22)];
    const signer = createSigner({
      credentials,
      audience,
      clock,
      nonce: () => nonces.shift() as string,
    });
    const first = await signer.sign({ method: 'GET', url: 'https://api.test/' });
    const second = await signer.presign({ url: 'https://api.test/', expiresIn: 1 });
    expect(first.headers['x-countersign-nonce']).toBe('A'.repeat(22));
    expect(second).toContain(`X-Countersign-Nonce=${'B'.repeat(22)}&`);
  });
});
