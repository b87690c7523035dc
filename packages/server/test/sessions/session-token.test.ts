import { generateKeyPairSync } from 'node:crypto';
import { generateMasterKey } from '@countersign/server';
import { CompactEncrypt } from 'jose';
import { describe, expect, it } from 'vitest';
import { MasterKeys } from '../../src/keys/master-keys.ts';
import { openToken, type SessionClaims, sealToken } from '../../src/sessions/session-token.ts';

const LONGEST = 4_096;
const text = generateMasterKey('first');
const masterKeys = new MasterKeys(text);
const bytes = Buffer.from(text.slice('first:'.length), 'base64url');
const claimsOf = (sub: string): SessionClaims => ({
  iss: 'video-api',
  sub,
  aud: 'video-api',
  iat: 1,
  nbf: 1,
  exp: 2,
  jti: 'session',
  scope: '',
  ver: { subject: 0, all: 0 },
  cnf: { jwk: { kty: 'oct', alg: 'HS256', k: 'A'.repeat(43) } },
});
/** A token as sealToken() makes it, but for its header: its maker has the master key. */
const tokenWith = (header: object, sub = 'alice') =>
  new CompactEncrypt(Buffer.from(JSON.stringify(claimsOf(sub))))
    .setProtectedHeader({
      alg: 'dir',
      enc: 'A256GCM',
      typ: 'countersign-session+jwt',
      kid: 'first',
      ...header,
    })
    .encrypt(bytes);

describe('sealToken()', () => {
  it('seals what openToken() opens', async () => {
    const token = await sealToken(claimsOf('alice'), masterKeys);
    expect(await openToken(token, masterKeys)).toEqual(claimsOf('alice'));
    expect(await openToken(await tokenWith({}), masterKeys)).toEqual(claimsOf('alice'));
  });

  it('makes tokens of up to 4,096 characters, which open, and refuses to make longer ones', async () => {
    let longest = '';
    for (const id of ['k', 'kk', 'kkk']) {
      const keys = new MasterKeys(generateMasterKey(id));
      for (let length = 2_600; length < 2_900; length++) {
        const token = await sealToken(claimsOf('x'.repeat(length)), keys).catch((error) => error);
        if (typeof token === 'string') {
          if (token.length > longest.length) longest = token;
          if (token.length === LONGEST)
            expect(await openToken(token, keys)).toEqual(claimsOf('x'.repeat(length)));
          continue;
        }
        expect(token).toBeInstanceOf(RangeError);
        expect(token.message).toMatch(/has (?:409[789]|41\d\d|4[23]\d\d) characters, 4096 are/);
      }
    }
    expect(longest).toHaveLength(LONGEST);
  });

  it('says that the key store failed if there is no master key', async () => {
    const failing = new MasterKeys(() => Promise.reject(new Error('the vault is sealed')));
    await expect(sealToken(claimsOf('alice'), failing)).rejects.toMatchObject({
      code: 'ERR_KEY_STORE_FAILED',
      message: expect.stringContaining('the vault is sealed'),
    });
  });
});

describe('openToken()', () => {
  it.each([
    ['is longer than 4,096 characters', {}, 'x'.repeat(3_000)],
    ['has a header of more than 512 characters', { more: 'x'.repeat(400) }, 'alice'],
    ['has another type', { typ: 'JWT' }, 'alice'],
  ])('opens no token that %s', async (_, header, sub) => {
    const token = await tokenWith(header, sub);
    expect(await openToken(token, masterKeys)).toBeUndefined();
  });

  it('asks for no master key whose name is no text', async () => {
    const asked: unknown[] = [];
    const keys = new MasterKeys((id) => {
      asked.push(id);
      return undefined;
    });
    const token = await tokenWith({ kid: 42 });
    expect(await openToken(token, keys)).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it('opens nothing by an algorithm that the token names', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { kty, crv, x, y } = publicKey.export({ format: 'jwk' });
    const header = {
      alg: 'ECDH-ES',
      enc: 'A256GCM',
      typ: 'countersign-session+jwt',
      kid: 'first',
      epk: { kty, crv, x, y },
    };
    const [, ...parts] = (await tokenWith({})).split('.');
    const head = Buffer.from(JSON.stringify(header)).toString('base64url');
    expect(await openToken([head, ...parts].join('.'), masterKeys)).toBeUndefined();
  });
});
