// Functions of the application (hooks for logs, stores, lookups) may fail in any way. A failure
// does not end the process. It does not change the outcome of a request unless the outcome depends
// on that function.

import type { VerifierOptions } from '@countersign/server';
import { createOnce, MemoryOnceStore, type OnceStore } from '@countersign/server/callbacks';
import * as fetchAdapter from '@countersign/server/fetch';
import { withCallback, withSignature } from '@countersign/server/node';
import { describe, expect, it } from 'vitest';
import { NOW, newSecret } from '../callbacks/receive/callbacks-sender.ts';
import { gate, MODES, troubles, turns } from './hand-on-support.ts';
import { listen, parties, send, stranger } from './sockets.ts';

const SECRET = newSecret();

function fail(): never {
  throw new Error('Cannot be read');
}

const UNREADABLE = Object.defineProperty(new Error('thrown'), 'stack', { get: fail });

const THROWING: [name: string, hook: () => never][] = [
  ['an object without a prototype', Object.create(null)],
  ['a symbol', Symbol('thrown')],
  ['nothing', undefined],
  ['an error whose stack cannot be read', UNREADABLE],
  ['an error', new Error('thrown')],
].map(([what, thrown]) => [
  `throws ${String(what)}`,
  () => {
    throw thrown;
  },
]);

/** A hook may be async, even if no code waits for it. */
const REJECTING = THROWING.map(([name, hook]): (typeof THROWING)[number] => [
  name.replace('throws', 'rejects with'),
  (async () => hook()) as () => never,
]);

/**
 * The outcome of one request to a server that a verifier with these options guards, and the process
 * warnings about it.
 */
async function outcomeOf(
  options: Partial<VerifierOptions> | ((those: ReturnType<typeof parties>) => void),
  { isForged = false, ...adapter }: { isForged?: boolean; clientAddress?: () => never } = {},
) {
  const seen = troubles();
  const statuses: number[] = [];
  for (const body of MODES) {
    const those = parties(typeof options === 'function' ? {} : options);
    if (typeof options === 'function') options(those);
    const guarded = withSignature((_req, res) => void res.end(), those.verifier, {
      body,
      ...adapter,
    });
    const { origin } = await listen(guarded);
    const signer = isForged ? stranger() : those.signer;
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: '{}' });
    statuses.push((await send(signed)).status);
  }
  await turns();
  return { statuses, seen };
}

const twice = (code: string) => [code, code];

describe.each([...THROWING, ...REJECTING])('a function of the application that %s', (_, hook) => {
  it('leaves a refusal as it is, as onRefused', async () => {
    const { statuses, seen } = await outcomeOf({ onRefused: hook }, { isForged: true });
    expect(statuses).toEqual([401, 401]);
    expect(seen).toEqual(twice('COUNTERSIGN_ON_REFUSED'));
  });

  it('leaves a refusal as it is, as onRefused of callbacks', async () => {
    const seen = troubles();
    const options = { secrets: [SECRET], clock: () => NOW, onRefused: hook };
    const { origin } = await listen(withCallback((_req, res) => void res.end(), options));
    expect((await fetch(origin, { method: 'POST', body: '{}' })).status).toBe(401);
    const receive = fetchAdapter.withCallback(() => new Response(), options);
    const unsigned = new Request('https://api.test/', { method: 'POST', body: '{}' });
    expect((await receive(unsigned)).status).toBe(401);
    await turns();
    expect(seen).toEqual(twice('COUNTERSIGN_ON_REFUSED'));
  });

  it('refuses with 503, as a key store', async () => {
    const { statuses, seen } = await outcomeOf(({ keys }) => {
      keys.find = hook;
    });
    expect([statuses, seen]).toEqual([[503, 503], []]);
  });

  it('refuses with 503, as a nonce store', async () => {
    const { statuses, seen } = await outcomeOf(({ nonces }) => {
      nonces.claim = hook;
    });
    expect([statuses, seen]).toEqual([[503, 503], []]);
  });
});

describe.each(THROWING)('a function of the application that %s', (_, hook) => {
  it('refuses with 500, as clientAddress', async () => {
    const { statuses, seen } = await outcomeOf({}, { clientAddress: hook });
    expect(statuses).toEqual([500, 500]);
    expect(seen).toEqual(twice('COUNTERSIGN_VERIFIER_FAILED'));
  });

  it.each(['clientAddress', 'target'])(
    'rejects what a fetch handler returns, as %s',
    async (option) => {
      const { verifier, signer } = parties();
      const receive = fetchAdapter.withSignature(() => new Response(), verifier, {
        [option]: hook,
      });
      const { url, headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
      const outcome = await receive(new Request(url, { headers })).then(
        () => 'answered',
        () => 'rejected',
      );
      expect(outcome).toBe('rejected');
    },
  );
});

describe.each(REJECTING)('a function of the application that %s', (_, hook) => {
  it('tells no address, as clientAddress', async () => {
    const { statuses, seen } = await outcomeOf({}, { clientAddress: hook });
    expect(statuses).toEqual([200, 200]);
    expect(seen).toEqual(twice('COUNTERSIGN_CLIENT_ADDRESS'));
  });

  it('tells no address, as clientAddress of a fetch handler', async () => {
    const seen = troubles();
    const { verifier, signer } = parties();
    const receive = fetchAdapter.withSignature(() => new Response(), verifier, {
      clientAddress: hook,
    });
    const { url, headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
    expect((await receive(new Request(url, { headers }))).status).toBe(200);
    await turns();
    expect(seen).toEqual(['COUNTERSIGN_CLIENT_ADDRESS']);
  });

  it('rejects what a fetch handler returns, as target', async () => {
    const seen = troubles();
    const { verifier, signer } = parties();
    const receive = fetchAdapter.withSignature(() => new Response(), verifier, { target: hook });
    const { url, headers } = await signer.sign({ method: 'GET', url: 'https://api.test/' });
    await expect(receive(new Request(url, { headers }))).rejects.toThrow('Option "target" gave ');
    await turns();
    expect(seen).toEqual(['COUNTERSIGN_TARGET']);
  });

  it('leaves what was accepted as it is, as recordUse of a key store', async () => {
    const { statuses, seen } = await outcomeOf(({ keys }) => {
      keys.recordUse = hook;
    });
    expect(statuses).toEqual([200, 200]);
    expect(seen).toEqual(twice('COUNTERSIGN_KEY_USE_NOT_RECORDED'));
  });

  it('leaves a refusal as it is, as record() of what counts failures', async () => {
    const failures = { check: () => undefined, record: hook };
    const { statuses, seen } = await outcomeOf({ failures }, { isForged: true });
    expect(statuses).toEqual([401, 401]);
    expect(seen).toEqual(twice('COUNTERSIGN_FAILURES'));
  });
});

describe('bookkeeping that throws', () => {
  const fail = () => {
    throw new Error('the disk is full');
  };

  it('refuses nothing that was accepted, as recordUse of a key store', async () => {
    const { statuses, seen } = await outcomeOf(({ keys }) => {
      keys.recordUse = fail;
    });
    expect(statuses).toEqual([200, 200]);
    expect(seen).toEqual(twice('COUNTERSIGN_KEY_USE_NOT_RECORDED'));
  });

  it('leaves a refusal as it is, as record() of what counts failures', async () => {
    const failures = { check: () => undefined, record: fail };
    const { statuses, seen } = await outcomeOf({ failures }, { isForged: true });
    expect(statuses).toEqual([401, 401]);
    expect(seen).toEqual(twice('COUNTERSIGN_FAILURES'));
  });
});

describe('a store of handled callbacks', () => {
  /**
   * Handles a callback until its run has renewed its lease twice, and returns whether the run was
   * told that another took over.
   */
  async function handleWith(goOn: OnceStore['goOn']) {
    const seen = troubles();
    const store: OnceStore = new MemoryOnceStore({ clock: () => NOW });
    const twice = gate();
    let calls = 0;
    store.goOn = (...args) => {
      if (++calls === 2) twice.open();
      return goOn(...args);
    };
    const once = createOnce({ store, lease: 0.1 });
    const given = {
      id: 'msg_1',
      signedAt: NOW,
      scheme: 'standard-webhooks',
      sender: 'video-api',
      body: new Uint8Array(),
      text: () => '',
    };
    const { outcome } = await once(given, async (_callback, signal) => {
      await twice.opened;
      await turns();
      if (signal.aborted) seen.push('taken over');
    });
    return { outcome, seen };
  }

  it.each([
    ['throws', fail, []],
    ['rejects', async () => fail(), []],
    ['says yes without a promise', () => true as never, []],
    ['says no without a promise', () => false as never, ['taken over']],
  ])('that %s when a run goes on lets it complete', async (_, goOn, seen) => {
    expect(await handleWith(goOn)).toEqual({ outcome: 'completed', seen });
  });
});
