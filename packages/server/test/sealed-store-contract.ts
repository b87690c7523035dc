import { inspect } from 'node:util';
import { generateMasterKey, type ManagedKeyStore, type MasterKeySource } from '@countersign/server';
import { describe, expect, it } from 'vitest';
import { judge } from './key-store-contract.ts';

type Sealed = Record<string, { policy: string; sealed: string }>;

/** A place where sealed keys lie, and whoever has got at it. */
export interface SealedPlace {
  /** A server with master keys. It is closed when the test is over. */
  open(masterKey: MasterKeySource): ManagedKeyStore;
  /** All that lies there. */
  dump(): Promise<string>;
  /** Changes what lies there. */
  change(edit: (records: Sealed) => void): Promise<void>;
}

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

    it('open under their own name only, and with their own policy', async () => {
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
        'a wider policy': (records, one) => {
          const it = records[one] as Sealed[string];
          it.policy = it.policy.replace('videos:parse', 'videos:delete');
        },
        'another subject': (records, one) => {
          const it = records[one] as Sealed[string];
          it.policy = it.policy.replace('mallory', 'admin');
        },
        'a space in the policy': (records, one) => {
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
      const asked: (string | undefined)[] = [];
      const source = async (id: string | undefined): Promise<string> => {
        asked.push(id);
        return first;
      };
      const key = await place.open(source).create();
      const other = place.open(source);
      for (let round = 0; round < 3; round++) expect(await judge(other, key)).toBe('accepted');
      expect(asked).toEqual([undefined, 'first']);
      const failing = place.open(() => Promise.reject(new Error('The vault is locked')));
      await expect(failing.find(key.accessKeyId)).rejects.toThrow('The vault is locked');
      const lying = place.open(async () => second);
      await expect(lying.find(key.accessKeyId)).rejects.toMatchObject({ code: 'ERR_MASTER_KEY' });
    });
  });
}
