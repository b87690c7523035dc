import {
  createCallbackVerifier,
  createOnce,
  MemoryOnceStore,
  type OnceStore,
} from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';
import { NOW, newSecret, signCallback } from './callbacks-sender.ts';

const [old, next, other] = [newSecret(), newSecret(), newSecret()];

/** Receives a callback: `signedWith` are the sender's secrets, `secrets` are the verifier's. */
async function receive(secrets: readonly string[], signedWith: readonly string[], id = 'msg_1') {
  const verifier = createCallbackVerifier({ secrets, clock: () => NOW });
  const body = Buffer.from(`{"id":"${id}"}`);
  return verifier.verify({ headers: signCallback(body, { secrets: signedWith, id }), body });
}

function counting() {
  const store = new MemoryOnceStore();
  const once = createOnce({ store });
  let runs = 0;
  const handle = async (secrets: readonly string[], signedWith: readonly string[]) =>
    (await once(await receive(secrets, signedWith), () => ++runs)).outcome;
  return { store, once, handle, runs: () => runs };
}

describe('createOnce() and secrets', () => {
  it('X6: an id of one receiver uses up no id of another, even if they share a store', async () => {
    const { handle, runs } = counting();
    expect(await handle([other], [other])).toBe('completed');
    expect(await handle([old], [old])).toBe('completed');
    expect(await handle([other], [other])).toBe('done');
    expect(await handle([old], [old])).toBe('done');
    expect(runs()).toBe(2);
  });

  it.each([
    [
      'before a rotation, and comes again signed with the next secret',
      [old],
      [old],
      [next, old],
      [next],
    ],
    ['in a rotation, and comes again when it is over', [next, old], [old], [next], [next]],
    ['in a rotation, and comes again where it has not begun', [next, old], [next], [old], [old]],
    [
      'in a rotation, with the secrets in another order',
      [next, old],
      [next, old],
      [old, next],
      [old],
    ],
  ])('runs once what was handled %s', async (_, first, signedFirst, then, signedThen) => {
    const { handle, runs } = counting();
    expect(await handle(first, signedFirst)).toBe('completed');
    expect(await handle(then, signedThen)).toBe('done');
    expect(runs()).toBe(1);
  });

  it('runs one of two deliveries that share one secret, and leaves no lease of the other', async () => {
    const { store, once, handle } = counting();
    let finish: () => void = () => undefined;
    const begun = new Promise<void>((resolve) => {
      const run = receive([old], [old]).then((callback) =>
        once(callback, () => {
          resolve();
          return new Promise<void>((end) => {
            finish = end;
          });
        }),
      );
      void run;
    });
    await begun;
    expect(await handle([next, old], [next])).toBe('in-progress');
    expect(await handle([next], [next])).toBe('completed');
    finish();
    expect(store.size).toBe(2);
  });

  it('releases all leases if the handler fails, or if the store fails in between', async () => {
    const { store, once, handle, runs } = counting();
    const callback = await receive([next, old], [old]);
    const fail = () => Promise.reject(new Error('mine'));
    await expect(once(callback, fail)).rejects.toThrow('mine');
    let begins = 0;
    const failing: OnceStore = {
      begin: async (...run) => {
        if (++begins === 2) throw new Error('away');
        return store.begin(...run);
      },
      goOn: (...run) => store.goOn(...run),
      finish: (...run) => store.finish(...run),
      release: (key, token) => store.release(key, token),
    };
    await expect(createOnce({ store: failing })(callback, () => undefined)).rejects.toMatchObject({
      code: 'ERR_NONCE_STORE_FAILED',
    });
    await new Promise(setImmediate);
    expect(await handle([next, old], [next])).toBe('completed');
    expect(runs()).toBe(1);
  });
});
