import { inspect } from 'node:util';
import { createSigner, type SignedRequest } from '@countersign/client';
import {
  type AccessKey,
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
} from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { accessKeySchema } from '../../../src/keys/access-key-schema.ts';
import { keyStoreContract } from '../key-store-contract.ts';

const NOW = 1_795_300_000;
const key: AccessKey = {
  accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC',
  secretAccessKey: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA',
  subject: 'alice',
  scopes: ['videos:parse'],
  status: 'active',
};

keyStoreContract('MemoryKeyStore', () => ({
  isShared: false,
  open: (clock = () => NOW) => new MemoryKeyStore([], clock),
}));

/** What a call throws. */
function thrown(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  throw new Error('Nothing was thrown');
}

describe('MemoryKeyStore rotate()', () => {
  it('gives nothing for a key that is disabled while it is rotated', async () => {
    const keys = new MemoryKeyStore([key]);
    const { accessKeyId } = key;
    const [rotated] = await Promise.allSettled([
      keys.rotate(accessKeyId, { overlap: 60 }),
      keys.disable(accessKeyId),
    ]);
    expect(rotated).toMatchObject({ reason: { code: 'ERR_KEY_INACTIVE' } });
    expect(await keys.list()).toMatchObject([{ accessKeyId, status: 'disabled' }]);
  });
});

describe('MemoryKeyStore revoke()', () => {
  it('is not undone by a clock that is wrong for a while', async () => {
    let now = NOW;
    const keys = new MemoryKeyStore([], () => now);
    const accessKeyId = `CSSK${'A'.repeat(20)}`;
    const session = { ...(await keys.beginSession('alice')), parent: undefined, subject: 'alice' };
    await keys.revoke({ accessKeyId });
    now += 20 * 86_400;
    await keys.create();
    now = NOW;
    expect(await keys.isSessionRevoked({ ...session, accessKeyId })).toBe(true);
    expect(await keys.isSessionRevoked({ ...session, accessKeyId: 'another' })).toBe(false);
  });
});

describe('MemoryKeyStore find()', () => {
  it('finds keys by their ids, whatever their status', async () => {
    const other: AccessKey = {
      ...generateAccessKey(),
      status: 'disabled',
      notBefore: 1,
      expiresAt: 2,
    };
    const keys = new MemoryKeyStore([key, other]);
    expect(await keys.find(key.accessKeyId)).toEqual(key);
    expect(await keys.find(other.accessKeyId)).toEqual(other);
  });

  it('finds nothing under names that objects have, or under others', async () => {
    const keys = new MemoryKeyStore([key]);
    for (const name of [
      '__proto__',
      'constructor',
      'toString',
      'hasOwnProperty',
      '',
      'CSAK',
      key.accessKeyId.toLowerCase(),
      `${key.accessKeyId} `,
    ]) {
      expect(await keys.find(name)).toBeUndefined();
    }
    expect(await new MemoryKeyStore().find(key.accessKeyId)).toBeUndefined();
  });

  it('finds a key whose id is a name that objects have', async () => {
    const keys = new MemoryKeyStore([{ ...key, accessKeyId: '__proto__' }]);
    expect((await keys.find('__proto__'))?.subject).toBe('alice');
    expect(await keys.find('constructor')).toBeUndefined();
  });

  it('gives a key that nobody can change', async () => {
    const scopes = ['videos:parse'];
    const given = { ...key, scopes };
    const keys = new MemoryKeyStore([given]);
    scopes.push('admin');
    given.subject = 'mallory';
    const found = (await keys.find(key.accessKeyId)) as AccessKey;
    expect(() => (found.scopes as string[]).push('admin')).toThrow('not extensible');
    expect(() => Object.assign(found, { subject: 'mallory' })).toThrow('read only property');
    expect(await keys.find(key.accessKeyId)).toEqual(key);
  });
});

describe('MemoryKeyStore set()', () => {
  const long = 'mT0pQ7vYx2Zr8Lw';
  it.each([
    ['is empty', ''],
    ['has 15 bytes', long],
    ['is undefined', undefined],
    ['is null', null],
    ['is a number', 1234567890123456],
    ['is bytes', Buffer.from('mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU')],
    ['is an object', { secret: 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU' }],
    ['is one character', 'a'.repeat(43)],
    ['repeats a few characters', 'abcab'.repeat(9)],
    ['is white space', ' '.repeat(43)],
    ['is a placeholder', 'changeme-changeme-changeme'],
    ['is a placeholder in capitals', 'YOUR_SECRET_ACCESS_KEY_HERE'],
    ['is the example of a manual', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'],
    ['is a row of digits', '0123456789012345678901234567890123456789'],
  ])('refuses a secret that %s, and does not show it', async (_, secretAccessKey) => {
    const refused = { ...key, secretAccessKey } as unknown as AccessKey;
    const keys = new MemoryKeyStore([key]);
    for (const error of [
      thrown(() => keys.set(refused)),
      thrown(() => new MemoryKeyStore([refused])),
    ]) {
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toContain('Cannot build access key: option "secretAccessKey" is');
      const secret =
        typeof secretAccessKey === 'string' && secretAccessKey.trim() !== ''
          ? secretAccessKey
          : 'mT0pQ7';
      expect(inspect(error)).not.toContain(secret);
      expect(inspect(error)).not.toContain('1234567890');
    }
    expect(await keys.find(key.accessKeyId)).toEqual(key);
  });

  it('counts the length of a secret in bytes', async () => {
    const keys = new MemoryKeyStore();
    for (const secretAccessKey of [`${long}x`, 'äöüßéèêë']) {
      keys.set({ ...key, secretAccessKey });
      expect((await keys.find(key.accessKeyId))?.secretAccessKey).toBe(secretAccessKey);
    }
    expect(() => keys.set({ ...key, secretAccessKey: 'äöüßéèê' })).toThrow(
      'it has 14 bytes, at least 16 are needed',
    );
  });

  it.each([
    ['accessKeyId', ''],
    ['accessKeyId', 'with/slash'],
    ['accessKeyId', 'x'.repeat(129)],
    ['accessKeyId', 'ключ'],
    ['accessKeyId', undefined],
    ['subject', ''],
    ['subject', undefined],
    ['scopes', 'videos:parse'],
    ['scopes', undefined],
    ['status', 'enabled'],
    ['status', true],
    ['status', undefined],
    ['notBefore', '2026-11-21'],
    ['notBefore', Number.NaN],
    ['expiresAt', new Date()],
    ['expiresAt', Infinity],
    ['expiresAt', null],
  ])('refuses a key whose %s is %s', (field, value) => {
    const error = thrown(
      () => new MemoryKeyStore([{ ...key, [field]: value } as unknown as AccessKey]),
    );
    expect(error.name).toMatch(/^(?:Type|Range)Error$/);
    expect(error.message).toContain(`option "${field}" is`);
    expect(error.message).not.toContain(key.secretAccessKey);
  });

  it('refuses fields that it does not know: a misspelt limit would be none', () => {
    for (const unknown of ['expires', 'scope', 'disabled', '__proto', 'secret']) {
      const error = thrown(() => new MemoryKeyStore([{ ...key, [unknown]: key.secretAccessKey }]));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toContain(`unknown option "${unknown}"`);
      expect(error.message).not.toContain(key.secretAccessKey);
    }
  });

  it('does not show a secret that is given in place of a key', () => {
    for (const wrong of [key.secretAccessKey, [key.secretAccessKey], undefined, null]) {
      const error = thrown(() => new MemoryKeyStore().set(wrong as unknown as AccessKey));
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).not.toContain(key.secretAccessKey);
    }
  });
});

describe('MemoryKeyStore on a running verifier', () => {
  const clock = () => NOW;
  const signer = createSigner({ credentials: key, audience: 'video-api', clock });

  function running(first: AccessKey) {
    const keys = new MemoryKeyStore([first], clock);
    const verifier = createVerifier({
      audience: 'video-api',
      keys,
      nonces: new MemoryNonceStore({ clock, bornAt: 0 }),
      clock,
    });
    /** The code of the refusal of a request that is new; `undefined` where it is accepted. */
    const verify = async (signed?: SignedRequest): Promise<string | undefined> => {
      const { method, url, headers } =
        signed ?? (await signer.sign({ method: 'GET', url: 'http://api.test/' }));
      const received = {
        method,
        url: url.slice('http://api.test'.length),
        headers: { ...headers, host: 'api.test' },
      };
      return verifier.verify(received).then(
        () => undefined,
        (error) => error.code,
      );
    };
    return { keys, verify };
  }

  it('does not take a key back that was revoked, by itself or with all of its subject', async () => {
    const { keys, verify } = running(key);
    await keys.revoke({ accessKeyId: key.accessKeyId });
    expect(() => keys.set(key)).toThrow('is revoked permanently');
    const other = generateAccessKey({ subject: 'bob' });
    keys.set(other);
    await keys.revoke({ subject: 'bob' });
    expect(() => keys.set(other)).toThrow('is revoked permanently');
    keys.set(generateAccessKey({ subject: 'bob' }));
    expect(await verify()).toBe('ERR_KEY_INACTIVE');
  });

  it('gives a key to another subject as one of its keys, whatever was revoked of either before', async () => {
    const keys = new MemoryKeyStore([key]);
    const ofBob = { ...key, subject: 'bob' };
    await keys.revoke({ subject: 'bob' });
    keys.set(ofBob);
    expect(await keys.find(key.accessKeyId)).toMatchObject({ subject: 'bob', status: 'active' });
    await keys.revoke({ subject: 'bob' });
    expect(await keys.find(key.accessKeyId)).toMatchObject({ status: 'revoked' });
    expect(() => keys.set(key)).toThrow('is revoked permanently');
  });

  it('refuses a key from the moment it is disabled, and accepts it again when it is active', async () => {
    const { keys, verify } = running(key);
    expect(await verify()).toBeUndefined();
    keys.set({ ...key, status: 'disabled' });
    expect(await verify()).toBe('ERR_KEY_INACTIVE');
    keys.set(key);
    expect(await verify()).toBeUndefined();
  });

  it('refuses what was signed before the key was disabled', async () => {
    const { keys, verify } = running(key);
    const signed = await signer.sign({ method: 'GET', url: 'http://api.test/' });
    keys.set({ ...key, status: 'disabled' });
    expect(await verify(signed)).toBe('ERR_KEY_INACTIVE');
  });

  it('refuses a key from the moment it is deleted', async () => {
    const { keys, verify } = running(key);
    expect(await verify()).toBeUndefined();
    expect(keys.delete(key.accessKeyId)).toBe(true);
    expect(keys.delete(key.accessKeyId)).toBe(false);
    expect(await verify()).toBe('ERR_KEY_UNKNOWN');
    keys.set(key);
    expect(await verify()).toBeUndefined();
  });

  it('refuses the old secret from the moment of a rotation', async () => {
    const { keys, verify } = running(key);
    expect(await verify()).toBeUndefined();
    keys.set({ ...key, secretAccessKey: generateAccessKey().secretAccessKey });
    expect(await verify()).toBe('ERR_SIGNATURE_MISMATCH');
    keys.set(key);
    expect(await verify()).toBeUndefined();
  });

  it('holds keys to the time for which they are valid, to the second', async () => {
    const { keys, verify } = running(key);
    const codes: (string | undefined)[] = [];
    for (const limits of [
      { expiresAt: NOW + 1 },
      { expiresAt: NOW },
      { notBefore: NOW },
      { notBefore: NOW + 1 },
      { notBefore: NOW, expiresAt: NOW },
    ]) {
      keys.set({ ...key, ...limits });
      codes.push(await verify());
    }
    expect(codes).toEqual([
      undefined,
      'ERR_KEY_INACTIVE',
      undefined,
      'ERR_KEY_INACTIVE',
      'ERR_KEY_INACTIVE',
    ]);
  });
});

describe('MemoryKeyStore secrets', () => {
  it('are in no log of the store', () => {
    const keys = new MemoryKeyStore([key]);
    const logs = [
      inspect(keys, { depth: 9, showHidden: true, getters: true }),
      JSON.stringify(keys),
      String(keys),
      inspect({ keys }),
      JSON.stringify({ keys }),
    ];
    for (const log of logs) {
      expect(log).not.toContain(key.secretAccessKey);
      expect(log).not.toContain(key.secretAccessKey.slice(0, 8));
    }
  });
});

describe('accessKeySchema', () => {
  it('takes what generateAccessKey() makes, and gives it back as it is', () => {
    const generated = generateAccessKey({
      subject: 'alice',
      scopes: ['a', 'b'],
      notBefore: 1,
      expiresAt: 2,
    });
    expect(accessKeySchema.parse(generated)).toEqual(generated);
  });
});
