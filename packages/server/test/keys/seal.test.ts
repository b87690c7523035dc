import { createDecipheriv, randomBytes } from 'node:crypto';
import { generateMasterKey } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { MasterKeys } from '../../src/keys/master-keys.ts';
import { changed, checkMasterKeys, open, type SealedRecord, seal } from '../../src/keys/seal.ts';

const text = generateMasterKey('first');
const masterKeys = new MasterKeys(text);
/** The same name, another key: as after the first one was lost. */
const otherKeys = new MasterKeys(generateMasterKey('first'));
const strangers = new MasterKeys(generateMasterKey('second'));
const record = { metadata: { scopes: ['videos:parse'] }, secret: 'sécret ✓' };
const sealedRecord = () => seal('access-key/a', record, masterKeys);
/** Changes one of the four parts of what is sealed. */
const withPart = ({ policy, sealed }: SealedRecord, index: number, part: string) => ({
  policy,
  sealed: sealed.split('.').with(index, part).join('.'),
});
const partOf = ({ sealed }: SealedRecord, index: number) => sealed.split('.')[index] as string;
const CHANGED = /^Cannot open the record "access-key\/a": it was changed, .* "first"; restore it/;

describe('seal()', () => {
  it('writes version, master key, nonce and secret, with name and policy as associated data', async () => {
    const { policy, sealed } = await sealedRecord();
    expect(policy).toBe('{"scopes":["videos:parse"]}');
    const [version, id, nonce = '', encrypted = ''] = sealed.split('.');
    expect([version, id]).toEqual(['v1', 'first']);
    const bytes = Buffer.from(encrypted, 'base64url');
    const key = Buffer.from(text.slice('first:'.length), 'base64url');
    const decipher = createDecipheriv('aes-256-gcm', key, Buffer.from(nonce, 'base64url'));
    decipher.setAAD(Buffer.from(JSON.stringify(['countersign record 1', 'access-key/a', policy])));
    decipher.setAuthTag(bytes.subarray(-16));
    const secret = Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]);
    expect(secret.toString()).toBe('sécret ✓');
  });

  it('takes another nonce each time', async () => {
    const [one, other] = [await sealedRecord(), await sealedRecord()];
    expect(partOf(one, 2)).not.toBe(partOf(other, 2));
  });
});

describe('open()', () => {
  it('gives back what was sealed, an empty secret too', async () => {
    expect(await open('access-key/a', await sealedRecord(), masterKeys)).toEqual(record);
    const empty = { metadata: {}, secret: '' };
    expect(await open('b', await seal('b', empty, masterKeys), masterKeys)).toEqual(empty);
  });

  it('refuses a record under another name, with another policy, or of another master key', async () => {
    const sealed = await sealedRecord();
    await expect(open('access-key/b', sealed, masterKeys)).rejects.toMatchObject({
      code: 'ERR_RECORD_UNREADABLE',
    });
    const refused = { code: 'ERR_RECORD_UNREADABLE', message: expect.stringMatching(CHANGED) };
    const wider = { ...sealed, policy: '{"scopes":["videos:parse","all"]}' };
    await expect(open('access-key/a', wider, masterKeys)).rejects.toMatchObject(refused);
    await expect(open('access-key/a', sealed, otherKeys)).rejects.toMatchObject(refused);
    await expect(open('access-key/a', sealed, strangers)).rejects.toMatchObject({
      code: 'ERR_MASTER_KEY',
    });
  });

  it('refuses a changed nonce, secret or tag', async () => {
    const sealed = await sealedRecord();
    const bytes = Buffer.from(partOf(sealed, 3), 'base64url');
    const flipped = (index: number) => {
      const copy = Buffer.from(bytes);
      copy[index] = (copy[index] as number) ^ 1;
      return copy.toString('base64url');
    };
    for (const broken of [
      withPart(sealed, 2, randomBytes(12).toString('base64url')),
      withPart(sealed, 3, flipped(0)),
      withPart(sealed, 3, flipped(bytes.length - 1)),
      withPart(sealed, 3, bytes.subarray(0, -1).toString('base64url')),
    ])
      await expect(open('access-key/a', broken, masterKeys)).rejects.toMatchObject({
        code: 'ERR_RECORD_UNREADABLE',
        message: expect.stringMatching(CHANGED),
      });
  });

  it.each([
    ['nothing', () => ''],
    ['another version', (sealed: string) => sealed.replace('v1', 'v2')],
    ['something before it', (sealed: string) => `x${sealed}`],
    ['something behind it', (sealed: string) => `${sealed}.`],
    ['no master key', (sealed: string) => sealed.replace('first', '')],
    ['a long name of a master key', (sealed: string) => sealed.replace('first', 'x'.repeat(65))],
    ['a short nonce', (sealed: string) => sealed.replace(/\.[^.]{16}\./, '.AAAA.')],
    ['less than a tag', (sealed: string) => sealed.replace(/[^.]+$/, 'A'.repeat(21))],
  ])('refuses %s: it is not sealed', async (_, change) => {
    const { policy, sealed } = await sealedRecord();
    await expect(
      open('access-key/a', { policy, sealed: change(sealed) }, masterKeys),
    ).rejects.toMatchObject({
      code: 'ERR_RECORD_UNREADABLE',
      message: expect.stringMatching(
        /^Cannot open the record "access-key\/a": it is not sealed; restore it, or remove it$/,
      ),
    });
  });
});

describe('changed()', () => {
  const next = { metadata: {}, secret: 'next' };

  it('changes what is there, or nothing if nothing is there', async () => {
    const seen: unknown[] = [];
    const change = (current: unknown) => {
      seen.push(current);
      return next;
    };
    const how = { change, instead: undefined };
    expect(await changed('access-key/a', await sealedRecord(), masterKeys, how)).toBe(next);
    expect(await changed('access-key/a', undefined, masterKeys, how)).toBe(next);
    expect(seen).toEqual([record, undefined]);
  });

  it('puts `instead` in place of a record that does not open, and refuses without it', async () => {
    const sealed = await sealedRecord();
    const change = () => undefined;
    expect(await changed('access-key/a', sealed, otherKeys, { change, instead: next })).toBe(next);
    await expect(
      changed('access-key/a', sealed, otherKeys, { change, instead: undefined }),
    ).rejects.toMatchObject({ code: 'ERR_RECORD_UNREADABLE' });
  });

  it('puts nothing in place of a record if opening it fails for another reason', async () => {
    const failure = new Error('no memory');
    const failing = { get: () => Promise.reject(failure) } as unknown as MasterKeys;
    await expect(
      changed('access-key/a', await sealedRecord(), failing, {
        change: () => undefined,
        instead: next,
      }),
    ).rejects.toBe(failure);
  });
});

describe('checkMasterKeys()', () => {
  it('takes no records at all, and one that opens among others', async () => {
    await checkMasterKeys([], masterKeys);
    const foreign = await seal('access-key/a', record, otherKeys);
    const records = [
      ['access-key/a', foreign],
      ['access-key/a', await sealedRecord()],
    ] as const;
    await checkMasterKeys(records, masterKeys);
  });

  it('opens no more records than it takes', async () => {
    let read = 0;
    async function* records() {
      for (;;) {
        read++;
        yield ['access-key/a', await sealedRecord()] as const;
      }
    }
    await checkMasterKeys(records(), masterKeys);
    expect(read).toBe(1);
  });

  it('refuses a key that opens nothing, and names the first record', async () => {
    const records = [
      ['access-key/a', await sealedRecord()],
      ['access-key/b', await sealedRecord()],
    ] as const;
    const error = await checkMasterKeys(records, otherKeys).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'ERR_MASTER_KEY',
      message: expect.stringMatching(/^Cannot seal with this master key: .*"access-key\/a"/),
      cause: { code: 'ERR_RECORD_UNREADABLE' },
    });
  });

  it('says only that the master key is missing if it is', async () => {
    const records = [['access-key/a', await sealedRecord()]] as const;
    await expect(checkMasterKeys(records, strangers)).rejects.toMatchObject({
      code: 'ERR_MASTER_KEY',
      message: expect.stringMatching(/^Cannot get the master key "first": /),
    });
  });

  it('does not go on to another record after any other failure', async () => {
    const failure = new Error('no memory');
    let asked = 0;
    const failing = {
      get: () => {
        asked++;
        return Promise.reject(failure);
      },
    } as unknown as MasterKeys;
    const sealed = await sealedRecord();
    const records = [
      ['access-key/a', sealed],
      ['access-key/a', sealed],
    ] as const;
    await expect(checkMasterKeys(records, failing)).rejects.toBe(failure);
    expect(asked).toBe(1);
  });
});
