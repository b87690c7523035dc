import { inspect } from 'node:util';
import {
  type AccessKeyInfo,
  generateMasterKey,
  KeyStoreError,
  type ManagedKeyStore,
  type MasterKeyProvider,
} from '@countersign/server';
import { describe, expect, it, vi } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';
import { MasterKeys } from '../../src/keys/master-keys.ts';
import { seal } from '../../src/keys/seal.ts';
import { AUDIENCE, createTestSessions, identityOf, judge } from './key-store-contract.ts';

type Sealed = Record<string, { policy: string; sealed: string }>;
type Edit = (record: Sealed[string]) => void;

/** A place where sealed keys lie, and whoever has got at it. */
export interface SealedPlace {
  /** A server with master keys. It is closed when the test is over. */
  open(masterKey: MasterKeyProvider, clock?: () => number): ManagedKeyStore;
  /** All that lies there. */
  dump(): Promise<string>;
  /** Changes what lies there. */
  change(edit: (records: Sealed) => void): Promise<void>;
}

/** What somebody does to a record who has no master key. */
const forgeries: Record<string, Edit> = {
  'other metadata': (record) => {
    record.policy = record.policy.replace('Laptop', 'Forged');
  },
  'metadata that are none': (record) => {
    record.policy = 'Forged';
  },
  'metadata of nothing': (record) => {
    record.policy = 'null';
  },
  'no seal': (record) => {
    record.sealed = 'Forged';
  },
  'the seal of a master key that nobody has': (record) => {
    record.sealed = record.sealed.replace(/^v1\.\w+/, 'v1.Forged');
  },
};

/** What every store does that seals secrets. */
export function sealedStoreContract(name: string, make: () => Promise<SealedPlace>): void {
  const [first, second] = [generateMasterKey('first'), generateMasterKey('second')];

  describe(`${name}: sealed secrets`, () => {
    it('are in no dump, in no form', async () => {
      const place = await make();
      const keys = place.open(first);
      const made = await Promise.all(
        Array.from({ length: 5 }, () => keys.create({ subject: 'alice', label: 'Laptop' })),
      );
      const text = await place.dump();
      for (const { accessKeyId, secretAccessKey } of made) {
        expect(text).toContain(accessKeyId);
        const bytes = Buffer.from(secretAccessKey, 'base64url');
        const forms = [secretAccessKey, bytes.toString('hex'), bytes.toString('base64')];
        for (const form of [...forms, Buffer.from(secretAccessKey).toString('base64url')])
          expect(text).not.toContain(form);
      }
      expect(text).not.toContain(first.split(':')[1]);
    });

    it('open under their own name only, and with their own metadata', async () => {
      const place = await make();
      const keys = place.open(first);
      const mine = await keys.create({ subject: 'mallory', scopes: ['videos:parse'] });
      const theirs = await keys.create({ subject: 'admin', scopes: ['videos:delete'] });
      const before = await place.dump();
      const edits: Record<string, (records: Sealed, mine: string, theirs: string) => void> = {
        'records swapped': (records, one, two) => {
          const [a, b] = [records[one], records[two]] as [Sealed[string], Sealed[string]];
          Object.assign(records, { [one]: { ...b }, [two]: { ...a } });
        },
        'secrets swapped': (records, one, two) => {
          const [a, b] = [records[one], records[two]] as [Sealed[string], Sealed[string]];
          Object.assign(records, {
            [one]: { ...a, sealed: b.sealed },
            [two]: { ...b, sealed: a.sealed },
          });
        },
        'wider metadata': (records, one) => {
          const it = records[one] as Sealed[string];
          it.policy = it.policy.replace('videos:parse', 'videos:delete');
        },
        'another subject': (records, one) => {
          const it = records[one] as Sealed[string];
          it.policy = it.policy.replace('mallory', 'admin');
        },
        'a space in the metadata': (records, one) => {
          const it = records[one] as Sealed[string];
          it.policy += ' ';
        },
        'a byte of the secret': (records, one) => {
          const it = records[one] as Sealed[string];
          it.sealed = it.sealed.replace(/.(?=.{5}$)/, (old) => (old === 'A' ? 'B' : 'A'));
        },
        'a shorter tag': (records, one) => {
          const it = records[one] as Sealed[string];
          it.sealed = it.sealed.slice(0, -4);
        },
        'no seal': (records, one) => {
          const it = records[one] as Sealed[string];
          it.sealed = Buffer.from('mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU').toString('base64url');
        },
      };
      for (const [what, edit] of Object.entries(edits)) {
        const untouched: Sealed = {};
        await place.change((records) => {
          Object.assign(untouched, structuredClone(records));
          edit(records, `key/${mine.accessKeyId}`, `key/${theirs.accessKeyId}`);
        });
        expect(await place.dump(), what).not.toBe(before);
        const error = await place
          .open(first)
          .find(mine.accessKeyId)
          .catch((thrown: unknown) => thrown);
        expect(error, what).toMatchObject({ code: 'ERR_RECORD_UNREADABLE' });
        expect(inspect(error)).not.toContain(mine.secretAccessKey);
        expect(await judge(place.open(first), mine), what).toMatch('ERR_KEY_STORE_FAILED');
        await place.change((records) => void Object.assign(records, untouched));
      }
      expect(await judge(place.open(first), mine)).toBe('accepted');
    });

    it.each(Object.entries(forgeries))('are listed all but one that has %s', async (_, forge) => {
      const place = await make();
      const keys = place.open(first);
      const mine = await keys.create({ subject: 'alice', label: 'Laptop' });
      const { secretAccessKey: __, ...other } = await keys.create({ subject: 'bob' });
      await place.change((records) => forge(records[`key/${mine.accessKeyId}`] as Sealed[string]));
      const server = place.open(first);
      // Of what stands there nothing is believed: it may be anybody's key.
      const refused = { accessKeyId: mine.accessKeyId, status: 'unreadable' };
      expect(await server.list()).toEqual([other, refused]);
      expect(await server.list({ subject: 'bob' })).toEqual([other, refused]);
      expect(await server.list({ subject: 'carol' })).toEqual([refused]);
      await expect(server.show(mine.accessKeyId)).rejects.toMatchObject({
        name: 'KeyStoreError',
        code: expect.stringMatching(/^ERR_(?:RECORD_UNREADABLE|MASTER_KEY)$/),
      });
      expect(await judge(server, mine)).toMatch('ERR_KEY_STORE_FAILED');
      // Nor does it keep anything else from being changed.
      await server.disable(other.accessKeyId);
      expect((await server.show(other.accessKeyId))?.status).toBe('disabled');
    });

    it('are listed without those whose master key is gone, and whole again when it is back', async () => {
      const place = await make();
      const old = await place.open(first).create();
      const fresh = await place.open([second, first]).create();
      const states = async (provider: MasterKeyProvider) =>
        Object.fromEntries(
          (await place.open(provider).list()).map(({ accessKeyId, status }) => [
            accessKeyId,
            status,
          ]),
        );
      expect(await states(second)).toEqual({
        [old.accessKeyId]: 'unreadable',
        [fresh.accessKeyId]: 'active',
      });
      expect(new Set(Object.values(await states([second, first])))).toEqual(new Set(['active']));
      // Whoever has lost one of the master keys can still make keys.
      await place.open(second).create();
    });

    it('are all sealed anew but for those that cannot be opened, which are named', async () => {
      const place = await make();
      const keys = place.open(first);
      const [one, two, three] = [await keys.create(), await keys.create(), await keys.create()];
      await keys.revoke({ subject: 'bob' });
      const untouched: Sealed = {};
      await place.change((records) => {
        Object.assign(untouched, structuredClone(records));
        for (const { accessKeyId } of [one, two])
          (records[`key/${accessKeyId}`] as Sealed[string]).policy += ' ';
      });
      const rolling = place.open([second, first]);
      const error = await rolling.rewrap().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(KeyStoreError);
      expect(error).toMatchObject({ code: 'ERR_RECORD_UNREADABLE' });
      const { message } = error as Error;
      expect(message).toMatch(/^Sealed 2 of 4 records again, but not /);
      for (const { accessKeyId } of [one, two]) expect(message).toContain(`"key/${accessKeyId}"`);
      expect(message).not.toContain(three.accessKeyId);
      expect(await judge(place.open(second), three)).toBe('accepted');
      await place.change((records) => {
        for (const { accessKeyId } of [one, two])
          Object.assign(records, { [`key/${accessKeyId}`]: untouched[`key/${accessKeyId}`] });
      });
      expect(await rolling.rewrap()).toBe(4);
      expect(await judge(place.open(second), one)).toBe('accepted');
      // Without the key that seals none is sealed, and none is lost.
      const failing = place.open((id) => (id === undefined ? undefined : second));
      await expect(failing.rewrap()).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
      expect(await judge(place.open(second), one)).toBe('accepted');
    });

    it.each(Object.entries(forgeries))(
      'are revoked for good where a record has %s',
      async (_, forge) => {
        const place = await make();
        const [keys, running] = [place.open(first, () => NOW), place.open(first, () => NOW)];
        const key = await keys.create({ subject: 'alice', label: 'Laptop' });
        const { accessKeyId } = key;
        const lent = await createTestSessions(keys).lend(await identityOf(keys, key, NOW));
        for (const credentials of [key, lent])
          expect(await judge(running, credentials)).toBe('accepted');
        let sealed = '';
        await place.change((records) => {
          const record = records[`key/${accessKeyId}`] as Sealed[string];
          sealed = record.sealed.split('.').at(-1) as string;
          forge(record);
        });
        const [one, two] = [place.open(first, () => NOW), place.open(first, () => NOW)];
        await Promise.all([one.revoke({ accessKeyId }), two.revoke({ accessKeyId })]);
        for (const server of [keys, running, one, two, place.open(first, () => NOW)]) {
          await vi.waitFor(
            async () => expect(await judge(server, key)).toBe('ERR_KEY_INACTIVE: it is revoked'),
            10_000,
          );
          expect(await judge(server, lent)).toBe('ERR_KEY_INACTIVE: it is revoked');
          const left = { accessKeyId, subject: '', scopes: [], status: 'revoked' };
          const { lastUsedAt: __, ...shown } = (await server.show(accessKeyId)) as AccessKeyInfo;
          expect(shown).toEqual(left);
          expect(await server.list()).toMatchObject([left]);
          expect(await server.list({ subject: 'alice' })).toEqual([]);
          for (const act of [
            () => server.enable(accessKeyId),
            () => server.disable(accessKeyId),
            () => server.rotate(accessKeyId, { overlap: 60 }),
          ])
            await expect(act()).rejects.toMatchObject({ code: 'ERR_KEY_REVOKED' });
          await expect(server.add(key)).rejects.toMatchObject({ code: 'ERR_KEY_EXISTS' });
          await server.revoke({ accessKeyId });
        }
        // Nothing of the old one lies there any more, and nothing stands in the way of another
        // master key.
        for (const old of [sealed, 'Laptop', 'Forged'])
          expect(await place.dump()).not.toContain(old);
        await place.open([second, first]).rewrap();
        expect((await place.open(second).show(accessKeyId))?.status).toBe('revoked');
      },
    );

    it('are revoked though their master key is gone, and stay so when it is back', async () => {
      const place = await make();
      const key = await place.open(first).create({ subject: 'alice' });
      const { accessKeyId } = key;
      const server = place.open(second);
      await expect(server.find(accessKeyId)).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
      await server.revoke({ accessKeyId });
      for (const provider of [second, [first, second]])
        expect(await judge(place.open(provider), key)).toBe('ERR_KEY_INACTIVE: it is revoked');
      expect(await server.rewrap()).toBe(1);
      expect(await judge(server, await server.create())).toBe('accepted');
    });

    it('are revoked where a record is good, and says what is not understood', async () => {
      const place = await make();
      const keys = place.open(first);
      const { accessKeyId } = await keys.create();
      const { accessKeyId: other } = await keys.create();
      const metadata = { subject: 'alice', scopes: [], status: 'active', version: 0, color: 'red' };
      const name = `key/${accessKeyId}`;
      const later = await seal(name, { metadata, secret: 'hush' }, new MasterKeys(first));
      await place.change((records) => Object.assign(records, { [name]: later }));
      const server = place.open(first);
      await expect(server.find(accessKeyId)).rejects.toMatchObject({
        code: 'ERR_RECORD_UNREADABLE',
      });
      const listed = await server.list();
      expect(new Map(listed.map((info) => [info.accessKeyId, info.status]))).toEqual(
        new Map([
          [other, 'active'],
          [accessKeyId, 'unreadable'],
        ]),
      );
      await server.revoke({ accessKeyId });
      expect((await server.show(accessKeyId))?.status).toBe('revoked');
    });

    it('are not revoked where there is no master key to seal that with, or no such key', async () => {
      const place = await make();
      const keys = place.open(first);
      const { accessKeyId } = await keys.create();
      const { accessKeyId: other } = await keys.create();
      await place.change((records) => {
        (records[`key/${accessKeyId}`] as Sealed[string]).policy += ' ';
      });
      const before = await place.dump();
      const failing = place.open((id) => (id === undefined ? undefined : first));
      for (const each of [accessKeyId, other])
        await expect(failing.revoke({ accessKeyId: each })).rejects.toMatchObject({
          code: 'ERR_MASTER_KEY',
        });
      await expect(keys.revoke({ accessKeyId: `${accessKeyId}X` })).rejects.toMatchObject({
        code: 'ERR_KEY_NOT_FOUND',
      });
      expect(await place.dump()).toBe(before);
    });

    it('are no reason why a session could not be revoked again', async () => {
      const place = await make();
      const keys = place.open(first, () => NOW);
      await keys.createEmpty();
      const sessions = createTestSessions(keys);
      const session = await sessions.issue({ subject: 'alice', scopes: [], audience: AUDIENCE });
      const { accessKeyId } = session;
      await keys.revoke({ accessKeyId });
      await place.change((records) => {
        (records[`session/${accessKeyId}`] as Sealed[string]).policy += ' ';
      });
      expect(
        await judge(
          place.open(first, () => NOW),
          session,
        ),
      ).toMatch(/^ERR_KEY_STORE_FAILED: /);
      await keys.revoke({ accessKeyId });
      expect(
        await judge(
          place.open(first, () => NOW),
          session,
        ),
      ).toMatch('ERR_KEY_INACTIVE');
    });

    it('get no other beside them that is sealed with another master key, of the same name or not', async () => {
      const place = await make();
      const keys = place.open(generateMasterKey('first'));
      const key = await keys.create({ subject: 'alice' });
      const code = 'ERR_MASTER_KEY';
      for (const id of ['first', 'second']) {
        const other = place.open(generateMasterKey(id));
        await expect(other.create()).rejects.toMatchObject({ code });
        await expect(other.revoke({ subject: 'bob' })).rejects.toMatchObject({ code });
      }
      expect(await keys.list()).toMatchObject([{ accessKeyId: key.accessKeyId, status: 'active' }]);
    });

    it('are added to, and revoked, as long as any of those that are there opens', async () => {
      const place = await make();
      const keys = place.open([first, second]);
      for (let made = 0; made < 24; made++) await keys.create({ subject: 'alice' });
      const names: string[] = [];
      await place.change((records) => {
        names.push(...Object.keys(records));
        // Of all but one.
        for (const record of Object.values(records).slice(1))
          record.sealed = record.sealed.replace(/^v1\.\w+/, 'v1.lost');
      });
      for (let turn = 0; turn < 5; turn++) {
        const again = place.open([first, second]);
        await again.revoke({ subject: `subject-${turn}` });
        await again.create({ subject: 'bob' });
      }
      expect(names).toHaveLength(24);
    });

    it('are sealed anew with another master key, while servers run', async () => {
      const place = await make();
      const running = place.open(first);
      const key = await running.create({ subject: 'alice' });
      await running.revoke({ subject: 'bob' });
      // Servers learn the new key first, to open; then one seals with it.
      const rolling = place.open([second, first]);
      expect(await judge(rolling, key)).toBe('accepted');
      expect(await rolling.rewrap()).toBe(2);
      expect(await judge(rolling, key)).toBe('accepted');
      expect(await judge(place.open(second), key)).toBe('accepted');
      expect(await place.dump()).not.toContain('v1.first.');
      const left = await place
        .open(first)
        .find(key.accessKeyId)
        .catch((thrown: unknown) => thrown);
      expect(left).toMatchObject({ code: 'ERR_MASTER_KEY' });
      expect(await judge(place.open(first), key)).toMatch('ERR_KEY_STORE_FAILED');
    });

    it('take their master key from a function, which is asked for each once', async () => {
      const place = await make();
      await place.open(first).createEmpty();
      const asked: (string | undefined)[] = [];
      const provider = async (id: string | undefined): Promise<string> => {
        asked.push(id);
        return first;
      };
      const key = await place.open(provider).create();
      const other = place.open(provider);
      for (let round = 0; round < 3; round++) expect(await judge(other, key)).toBe('accepted');
      expect(asked).toEqual([undefined, 'first']);
      const failing = place.open(() => Promise.reject(new Error('The vault is locked')));
      await expect(failing.find(key.accessKeyId)).rejects.toThrow('The vault is locked');
      const lying = place.open(async () => second);
      await expect(lying.find(key.accessKeyId)).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
    });
  });
}
