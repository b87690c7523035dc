import { inspect } from 'node:util';
import { createSigner } from '@countersign/client';
import {
  type AccessKey,
  createVerifier,
  type GeneratedKeyPair,
  generateAccessKey,
  generateMasterKey,
  KeyStoreError,
  type ManagedKeyStore,
  MemoryNonceStore,
  type SessionProvider,
} from '@countersign/server';
import { createSessions, type SessionCredentials } from '@countersign/server/sessions';
import { describe, expect, it, vi } from 'vitest';
import { NOW } from '../../../../test/support/now.ts';

/** One place where keys are kept, and servers that share it. */
export interface KeysUnderTest {
  /** Another server. It is closed when the test is over. */
  open(clock?: () => number): ManagedKeyStore;
  /** Whether what one server does reaches others. */
  readonly isShared: boolean;
}

export const AUDIENCE = 'video-api';

/** What a request that is signed with credentials is answered with. */
export async function judge(
  keys: ManagedKeyStore,
  credentials: AccessKey | SessionCredentials | GeneratedKeyPair['credentials'],
  {
    signedAt = NOW,
    now = signedAt,
    sessions = createTestSessions(keys),
  }: { signedAt?: number; now?: number; sessions?: SessionProvider } = {},
): Promise<string> {
  const signer = createSigner({ credentials, audience: AUDIENCE, clock: () => signedAt });
  const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys,
    sessions,
    nonces: new MemoryNonceStore({ clock: () => now, bornAt: 0 }),
    clock: () => now,
  });
  const received = { method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } };
  return verifier.verify(received).then(
    () => 'accepted',
    (error) => `${error.code}: ${error.message.replace(/^Cannot accept access key "\w+": /, '')}`,
  );
}

const masterKey = generateMasterKey();
const SECRET = 'mT0pQ7vYx2Zr8LwKc5Nd1HsJf4Gb6VaU9eRiXoWqEyA';
export const createTestSessions = (keys: ManagedKeyStore) =>
  createSessions({ issuer: 'video-api', masterKey, revocations: keys });

const inactive = (why: string) => `ERR_KEY_INACTIVE: ${why}`;

/** What every store of keys must do. */
export function keyStoreContract(
  name: string,
  make: () => KeysUnderTest | Promise<KeysUnderTest>,
): void {
  async function openStore(clock: () => number = () => NOW) {
    const place = await make();
    const keys = place.open(clock);
    await keys.createEmpty();
    return { place, keys };
  }

  describe(`${name}: access keys`, () => {
    it('are made, found, and shown without their secret', async () => {
      const { keys } = await openStore();
      const key = await keys.create({
        subject: 'alice',
        scopes: ['videos:parse'],
        audiences: [AUDIENCE],
        label: 'Laptop',
        expiresAt: NOW + 60,
      });
      expect(key).toMatchObject({ status: 'active', created: NOW });
      expect(await keys.find(key.accessKeyId)).toEqual(key);
      const { secretAccessKey, ...info } = key;
      expect(await keys.show(key.accessKeyId)).toEqual(info);
      expect(await keys.list()).toEqual([info]);
      for (const seen of [keys, await keys.show(key.accessKeyId), await keys.list()])
        expect(inspect(seen, { depth: 9, showHidden: true })).not.toContain(secretAccessKey);
      expect(await judge(keys, key)).toBe('accepted');
    });

    it('are several to a subject, and listed by it, the oldest first', async () => {
      let now = NOW;
      const { keys } = await openStore(() => now);
      const made: string[] = [];
      for (const subject of ['alice', 'bob', 'alice']) {
        made.push((await keys.create({ subject })).accessKeyId);
        now++;
      }
      const ids = async (of?: { subject: string }) =>
        (await keys.list(of)).map(({ accessKeyId }) => accessKeyId);
      expect(await ids()).toEqual(made);
      expect(await ids({ subject: 'alice' })).toEqual([made[0], made[2]]);
      expect(await ids({ subject: 'carol' })).toEqual([]);
    });

    it('may hold a public key, and then nothing that is secret', async () => {
      const { place, keys } = await openStore();
      const { accessKey, credentials } = await keys.create({
        subject: 'alice',
        scopes: ['videos:parse'],
        algorithm: 'ed25519',
      });
      const { accessKeyId } = accessKey;
      expect(accessKey).toMatchObject({ status: 'active', created: NOW, subject: 'alice' });
      const other = place.isShared ? place.open() : keys;
      expect(await other.find(accessKeyId)).toEqual(accessKey);
      expect(await keys.show(accessKeyId)).toEqual(accessKey);
      expect(await keys.list()).toEqual([accessKey]);
      expect(await judge(other, credentials)).toBe('accepted');
      await keys.disable(accessKeyId);
      expect(await judge(keys, credentials)).toBe(inactive('it is not active'));
      await keys.enable(accessKeyId);
      expect(await keys.find(accessKeyId)).toEqual(accessKey);

      // Its owner has the new private key too, or it would come over the wire.
      await expect(keys.rotate(accessKeyId, { overlap: 60 })).rejects.toThrow(
        `Cannot rotate access key "${accessKeyId}": it has a public key, so give the new one as "publicKey"`,
      );
      const next = generateAccessKey({ algorithm: 'ecdsa-p256-sha256' });
      const { publicKey } = next.accessKey;
      const fresh = await keys.rotate(accessKeyId, { overlap: 60, publicKey });
      expect(fresh).toMatchObject({ publicKey, subject: 'alice', scopes: ['videos:parse'] });
      const moved = { ...next.credentials, accessKeyId: fresh.accessKeyId };
      expect(await judge(keys, moved)).toBe('accepted');
      expect(await judge(keys, credentials)).toBe('accepted');
      expect(await judge(keys, credentials, { signedAt: NOW + 60 })).toBe(
        inactive('it has expired'),
      );
      await keys.revoke({ accessKeyId: fresh.accessKeyId });
      expect(await judge(keys, moved)).toBe(inactive('it is revoked'));
      expect(await keys.show(fresh.accessKeyId)).toMatchObject({ status: 'revoked', publicKey });
    });

    it('move from a secret to a public key by a rotation', async () => {
      const { keys } = await openStore();
      const old = await keys.create({ subject: 'alice' });
      const { accessKey, credentials } = generateAccessKey({ algorithm: 'ed25519' });
      const { publicKey } = accessKey;
      const fresh = await keys.rotate(old.accessKeyId, { overlap: 60, publicKey });
      expect(fresh.secretAccessKey).toBeUndefined();
      for (const it of [old, { ...credentials, accessKeyId: fresh.accessKeyId }])
        expect(await judge(keys, it)).toBe('accepted');
    });

    it('come from elsewhere too, each id once', async () => {
      const { keys } = await openStore();
      const key = generateAccessKey({ subject: 'alice' });
      await keys.add(key);
      expect(await keys.find(key.accessKeyId)).toEqual(key);
      const other = { ...key, secretAccessKey: generateAccessKey().secretAccessKey };
      await expect(keys.add(other)).rejects.toMatchObject({ code: 'ERR_KEY_EXISTS' });
      expect(await keys.find(key.accessKeyId)).toEqual(key);
    });

    it.each([
      ['a secret that is short', { secretAccessKey: 'short' }],
      ['a secret that is none', { secretAccessKey: undefined }],
      ['a secret that repeats a few characters', { secretAccessKey: 'ab'.repeat(20) }],
      ['a placeholder', { secretAccessKey: 'changeme-changeme-changeme' }],
      ['a secret with a line break', { secretAccessKey: `${SECRET}\n` }],
      ['a secret in quotes', { secretAccessKey: `'${SECRET}'` }],
      ['a secret with a NUL', { secretAccessKey: `${SECRET}\0` }],
      ['an id with a line break', { accessKeyId: 'CSAK7Q2M5X9R4T8W3Y6Z0ABC\n' }],
      ['an id of a session', { accessKeyId: 'CSSK7Q2M5X9R4T8W3Y6Z0ABC' }],
      ['an id that is none', { accessKeyId: 'a/b' }],
      ['an expiry in milliseconds', { expiresAt: NOW * 1000 }],
      ['an audience that is none', { audiences: ['a b'] }],
      ['no audience at all', { audiences: [] }],
      ['a scope that would be two', { scopes: ['videos:parse admin'] }],
      ['a field that is unknown', { scope: 'admin' }],
    ])('are refused with %s', async (_, wrong) => {
      const { keys } = await openStore();
      const key = { ...generateAccessKey(), ...wrong } as unknown as AccessKey;
      const error = await keys.add(key).catch((thrown: unknown) => thrown);
      expect(String((error as Error).name)).toMatch(/^(?:Type|Range)Error$/);
      if (typeof key.secretAccessKey === 'string')
        expect(inspect(error)).not.toContain(key.secretAccessKey);
      expect(await keys.list()).toEqual([]);
    });

    it('are good for their audiences only, and for their time', async () => {
      const { keys } = await openStore();
      const elsewhere = await keys.create({ audiences: ['other-api'] });
      const later = await keys.create({ notBefore: NOW + 1 });
      const over = await keys.create({ expiresAt: NOW });
      expect(await judge(keys, elsewhere)).toBe(inactive('it is not for this audience'));
      expect(await judge(keys, later)).toBe(inactive('it is not valid yet'));
      expect(await judge(keys, over)).toBe(inactive('it has expired'));
    });

    it('are disabled, enabled again, and revoked for good, with their secret', async () => {
      const { keys } = await openStore();
      const key = await keys.create({
        subject: 'alice',
        scopes: ['videos:parse'],
        label: 'Laptop',
      });
      const { accessKeyId } = key;
      await keys.disable(accessKeyId);
      expect(await judge(keys, key)).toBe(inactive('it is not active'));
      await keys.enable(accessKeyId);
      expect(await judge(keys, key)).toBe('accepted');
      await keys.revoke({ accessKeyId });
      expect(await judge(keys, key)).toBe(inactive('it is revoked'));
      expect((await keys.find(accessKeyId))?.secretAccessKey).toBe('');
      // What is known of it is not lost.
      const { secretAccessKey: _, ...known } = key;
      expect(await keys.show(accessKeyId)).toMatchObject({ ...known, status: 'revoked' });
      expect(await keys.list()).toMatchObject([{ ...known, status: 'revoked' }]);
      for (const act of [
        () => keys.enable(accessKeyId),
        () => keys.disable(accessKeyId),
        () => keys.rotate(accessKeyId, { overlap: 60 }),
      ])
        await expect(act()).rejects.toMatchObject({ code: 'ERR_KEY_REVOKED' });
      // Twice is no harm: a caller need not look first.
      await keys.revoke({ accessKeyId });
      expect((await keys.show(accessKeyId))?.status).toBe('revoked');
    });

    it('that are not there cannot be changed', async () => {
      const { keys } = await openStore();
      const accessKeyId = 'CSAK7Q2M5X9R4T8W3Y6Z0ABC';
      expect(await keys.find(accessKeyId)).toBeUndefined();
      expect(await keys.show(accessKeyId)).toBeUndefined();
      for (const act of [
        () => keys.enable(accessKeyId),
        () => keys.disable(accessKeyId),
        () => keys.revoke({ accessKeyId }),
        () => keys.rotate(accessKeyId, { overlap: 60 }),
      ]) {
        const error = await act().catch((thrown: unknown) => thrown);
        expect(error).toBeInstanceOf(KeyStoreError);
        expect(error).toMatchObject({ code: 'ERR_KEY_NOT_FOUND' });
      }
      expect(await keys.list()).toEqual([]);
    });

    it('rotate: the new one works at once, the old one until the overlap ends', async () => {
      let now = NOW;
      const { keys } = await openStore(() => now);
      const old = await keys.create({
        subject: 'alice',
        scopes: ['videos:parse'],
        audiences: [AUDIENCE],
        label: 'Laptop',
        expiresAt: NOW + 1_000,
      });
      now += 100;
      const fresh = await keys.rotate(old.accessKeyId, { overlap: 60 });
      const { accessKeyId: _, secretAccessKey: __, ...metadata } = old;
      // It lives as long as the old one was to live.
      expect(fresh).toMatchObject({ ...metadata, created: now, expiresAt: now + 1_000 });
      expect(fresh.secretAccessKey).not.toBe(old.secretAccessKey);
      for (const key of [old, fresh])
        expect(await judge(keys, key, { signedAt: now })).toBe('accepted');
      expect(await judge(keys, old, { signedAt: now + 60 })).toBe(inactive('it has expired'));
      expect(await judge(keys, fresh, { signedAt: now + 60 })).toBe('accepted');
      // An overlap makes nothing live longer than it was to.
      const another = await keys.rotate(fresh.accessKeyId, { overlap: 10_000 });
      expect((await keys.show(fresh.accessKeyId))?.expiresAt).toBe(now + 1_000);
      expect(await judge(keys, another, { signedAt: now })).toBe('accepted');
    });

    it('rotate again where the new one got lost: what is left of the old one is not its life', async () => {
      let now = NOW;
      const { keys } = await openStore(() => now);
      const old = await keys.create();
      const short = await keys.create({ expiresAt: NOW + 1_000 });
      for (const overlap of [60, 600]) {
        now += 1;
        expect((await keys.rotate(old.accessKeyId, { overlap })).expiresAt).toBeUndefined();
        expect((await keys.rotate(short.accessKeyId, { overlap })).expiresAt).toBe(now + 1_000);
        for (const { accessKeyId } of [old, short])
          expect((await keys.show(accessKeyId))?.expiresAt).toBe(NOW + 61);
      }
      expect(inspect(await keys.list())).not.toContain('rotated');
    });

    it('rotate to the like: valid no sooner, and for ever as far as a time can tell', async () => {
      const { keys } = await openStore();
      const last = 253_402_300_799;
      const old = await keys.create({ subject: 'alice', notBefore: NOW + 100, expiresAt: last });
      const fresh = await keys.rotate(old.accessKeyId, { overlap: 200 });
      expect(await judge(keys, fresh)).toBe(inactive('it is not valid yet'));
      expect(await judge(keys, fresh, { signedAt: NOW + 100 })).toBe('accepted');
      expect(await keys.show(fresh.accessKeyId)).toMatchObject({ expiresAt: last });
    });

    it('do not rotate where they are disabled or have expired: nothing comes back to life', async () => {
      let now = NOW;
      const { keys } = await openStore(() => now);
      const disabled = await keys.create();
      await keys.disable(disabled.accessKeyId);
      const expired = await keys.create({ expiresAt: NOW + 10 });
      now += 10;
      for (const { accessKeyId } of [disabled, expired])
        await expect(keys.rotate(accessKeyId, { overlap: 60 })).rejects.toMatchObject({
          code: 'ERR_KEY_INACTIVE',
        });
      expect(await keys.list()).toHaveLength(2);
    });

    it('do not rotate if they are revoked meanwhile: there is no new one', async () => {
      const { place, keys } = await openStore();
      const other = place.isShared ? place.open(() => NOW) : keys;
      for (let round = 0; round < 5; round++) {
        const { accessKeyId, subject } = await keys.create({ subject: `subject-${round}` });
        const [rotated] = await Promise.allSettled([
          keys.rotate(accessKeyId, { overlap: 60 }),
          other.revoke({ accessKeyId }),
        ]);
        // It came first, or not at all.
        const fresh = rotated.status === 'fulfilled' ? [rotated.value.accessKeyId] : [];
        const present = await (place.isShared ? place.open(() => NOW) : keys).list({ subject });
        const alive = present.filter(({ status }) => status === 'active');
        expect(alive.map((info) => info.accessKeyId)).toEqual(fresh);
        expect(present).toHaveLength(1 + fresh.length);
      }
    });

    it.each([Number.NaN, -1, '60', undefined])(
      'do not rotate with an overlap of %s',
      async (overlap) => {
        const { keys } = await openStore();
        const { accessKeyId } = await keys.create();
        await expect(
          keys.rotate(accessKeyId, { overlap } as unknown as { overlap: number }),
        ).rejects.toThrow(/option "overlap" is/);
        expect(await keys.list()).toHaveLength(1);
      },
    );

    it('tell when they were used last', async () => {
      const { place, keys } = await openStore();
      const { accessKeyId } = await keys.create();
      expect((await keys.show(accessKeyId))?.lastUsedAt).toBeUndefined();
      keys.recordUse(accessKeyId, NOW);
      keys.recordUse('CSAK-unknown', NOW);
      expect((await keys.show(accessKeyId))?.lastUsedAt).toBe(NOW);
      await keys.close();
      expect((await keys.show(accessKeyId).catch(() => undefined))?.lastUsedAt ?? NOW).toBe(NOW);
      if (!place.isShared) return;
      const other = place.open();
      other.recordUse(accessKeyId, NOW - 60);
      await other.close();
      const third = place.open();
      expect((await third.show(accessKeyId))?.lastUsedAt).toBe(NOW);
      expect(await third.list()).toHaveLength(1);
    });
  });

  describe(`${name}: revocations`, () => {
    it('of a subject end all keys that it has, and none that it gets', async () => {
      const now = NOW;
      const { keys } = await openStore(() => now);
      const [one, two] = [
        await keys.create({ subject: 'alice' }),
        await keys.create({ subject: 'alice' }),
      ];
      const other = await keys.create({ subject: 'bob' });
      // A store of the application may not say when a key was made.
      const old = generateAccessKey({ subject: 'alice' });
      await keys.add(old);
      await keys.revoke({ subject: 'alice' });
      for (const key of [one, two, old]) {
        expect(await judge(keys, key)).toBe(inactive('it is revoked'));
        expect((await keys.show(key.accessKeyId))?.status).toBe('revoked');
        for (const act of [
          () => keys.rotate(key.accessKeyId, { overlap: 60 }),
          () => keys.enable(key.accessKeyId),
          () => keys.disable(key.accessKeyId),
        ])
          await expect(act()).rejects.toMatchObject({ code: 'ERR_KEY_REVOKED' });
      }
      expect(await judge(keys, other)).toBe('accepted');
      expect(await judge(keys, await keys.create({ subject: 'alice' }))).toBe('accepted');
    });

    it.each(['alice', undefined])('of what was signed before a moment, by %s', async (subject) => {
      let now = NOW;
      const { keys } = await openStore(() => now);
      const key = await keys.create({ subject: 'alice' });
      const other = await keys.create({ subject: 'bob' });
      now += 10;
      await keys.revoke({ ...(subject === undefined ? {} : { subject }), signedBefore: NOW + 10 });
      const refused = inactive('what it signed until then is revoked');
      expect(await judge(keys, key, { signedAt: NOW + 9, now })).toBe(refused);
      expect(await judge(keys, key, { signedAt: NOW + 10, now })).toBe('accepted');
      expect(await judge(keys, other, { signedAt: NOW + 9, now })).toBe(
        subject === undefined ? refused : 'accepted',
      );
      // An earlier moment takes nothing back.
      await keys.revoke({ ...(subject === undefined ? {} : { subject }), signedBefore: NOW });
      expect(await judge(keys, key, { signedAt: NOW + 9, now })).toBe(refused);
    });

    it('are refused where they would mean something else', async () => {
      const { keys } = await openStore();
      const key = await keys.create({ subject: 'alice' });
      await expect(keys.revoke({ signedBefore: NOW + 60 })).rejects.toMatchObject({
        name: 'RangeError',
        message: `Cannot revoke what is signed before ${NOW + 60}: it is 60 s ahead`,
      });
      for (const wrong of [
        {},
        undefined,
        { subject: '' },
        { accessKeyId: key.accessKeyId, subject: 'alice' },
        { signedBefore: Number.NaN },
        { signedBefore: NOW * 1000 },
        { subject: 'alice', only: 'keys' },
        { everybody: true },
        { everybody: 'sessions', subject: 'alice' },
      ])
        await expect(keys.revoke(wrong as { subject: string })).rejects.toThrow(/^Cannot/);
      expect(await judge(keys, key)).toBe('accepted');
    });

    it('end sessions: one, all of a key, of a subject, of a version, and of a time', async () => {
      let now = NOW;
      const { keys } = await openStore(() => now);
      const sessions = createTestSessions(keys);
      const issue = async (subject = 'alice') => {
        now += 1;
        return sessions.issue({ subject, scopes: [], audience: AUDIENCE });
      };
      const parent = await keys.create({ subject: 'carol' });
      const lent = await sessions.lend({ ...(await identityOf(keys, parent, now)) });
      let bobs = await issue('bob');
      const [one, two, three] = [await issue(), await issue(), await issue()];
      const verdicts = async (...all: SessionCredentials[]) => {
        const all_ = await Promise.all(
          all.map((it) => judge(keys, it, { signedAt: now, sessions })),
        );
        return all_.map((verdict) => (verdict === 'accepted' ? 'accepted' : 'refused'));
      };
      expect(await verdicts(lent, bobs, one, two, three)).toEqual(Array(5).fill('accepted'));
      await keys.revoke({ accessKeyId: one.accessKeyId });
      expect(await verdicts(one, two)).toEqual(['refused', 'accepted']);
      await keys.revoke({ subject: 'alice', signedBefore: now });
      expect(await verdicts(two, three)).toEqual(['refused', 'accepted']);
      await keys.revoke({ subject: 'alice', only: 'sessions' });
      const newer = await issue();
      expect(await verdicts(three, newer)).toEqual(['refused', 'accepted']);
      await keys.disable(parent.accessKeyId);
      expect(await verdicts(lent)).toEqual(['refused']);
      await keys.enable(parent.accessKeyId);
      expect(await verdicts(lent)).toEqual(['accepted']);
      await keys.revoke({ accessKeyId: parent.accessKeyId });
      expect(await verdicts(lent, bobs)).toEqual(['refused', 'accepted']);
      await keys.revoke({ subject: 'alice' });
      expect(await verdicts(newer, bobs)).toEqual(['refused', 'accepted']);
      await keys.revoke({ everybody: 'sessions' });
      expect(await verdicts(bobs)).toEqual(['refused']);
      bobs = await issue('bob');
      // Log out everywhere, and in again: the new session counts, in the same second too.
      await keys.revoke({ signedBefore: now + 0.5 });
      const again = await sessions.issue({ subject: 'bob', scopes: [], audience: AUDIENCE });
      expect(await verdicts(bobs, again)).toEqual(['refused', 'accepted']);
    });

    it('reach the other servers, and so does all else', async () => {
      const { place, keys } = await openStore();
      if (!place.isShared) return;
      const other = place.open(() => NOW);
      const key = await keys.create({ subject: 'alice' });
      // Not there a moment ago, and known not to be.
      const unknown = generateAccessKey();
      expect(await judge(other, unknown)).toMatch('ERR_KEY_UNKNOWN');
      await keys.add(unknown);
      await vi.waitFor(async () => expect(await judge(other, unknown)).toBe('accepted'), 10_000);
      await vi.waitFor(async () => expect(await judge(other, key)).toBe('accepted'), 10_000);
      await keys.disable(key.accessKeyId);
      await vi.waitFor(
        async () => expect(await judge(other, key)).toBe(inactive('it is not active')),
        10_000,
      );
      await other.enable(key.accessKeyId);
      await vi.waitFor(async () => expect(await judge(keys, key)).toBe('accepted'), 10_000);
      await other.revoke({ subject: 'alice' });
      await vi.waitFor(
        async () => expect(await judge(keys, key)).toBe(inactive('it is revoked')),
        10_000,
      );
    });

    it('by two servers at once both count', async () => {
      const { place, keys } = await openStore();
      const other = place.isShared ? place.open(() => NOW) : keys;
      const made = await Promise.all(
        Array.from({ length: 10 }, () => keys.create({ subject: 'alice' })),
      );
      await Promise.all(
        made.flatMap(({ accessKeyId }, index) => [
          (index % 2 === 0 ? keys : other).revoke({ accessKeyId }),
          (index % 2 === 0 ? other : keys).disable(accessKeyId).catch((error) => {
            expect(error).toMatchObject({ code: 'ERR_KEY_REVOKED' });
          }),
        ]),
      );
      const infos = await (place.isShared ? place.open() : keys).list();
      expect(infos.map(({ status }) => status)).toEqual(Array(10).fill('revoked'));
    });
  });
}

/** What a verifier answers. */
export async function identityOf(keys: ManagedKeyStore, key: AccessKey, now: number) {
  const signer = createSigner({ credentials: key, audience: AUDIENCE, clock: () => now });
  const { headers } = await signer.sign({ method: 'GET', url: 'http://api.test/' });
  const verifier = createVerifier({
    audience: AUDIENCE,
    keys,
    nonces: new MemoryNonceStore({ clock: () => now, bornAt: 0 }),
    clock: () => now,
  });
  return verifier.verify({ method: 'GET', url: '/', headers: { ...headers, host: 'api.test' } });
}
