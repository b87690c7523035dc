import { hash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { quote, SignatureError } from '@countersign/shared';
import * as z from 'zod';
import { objectOption, parseOptions } from '../../lib/options.ts';
import { storeFailed } from '../../verify/store-failed.ts';
import type { CallbackIdentity } from '../receive/callback-identity.ts';
import { scopesOf } from '../receive/once-scopes.ts';
import { callbackOf } from '../receive/received-callbacks.ts';
import type { OnceScope, OnceState, OnceStore } from './once-store.ts';

/** What handlers run once by. Durations are seconds. */
export interface OnceOptions {
  /** Where it is kept what was handled: `MemoryOnceStore`, or `RedisOnceStore` for all servers together. */
  readonly store: OnceStore;
  /**
   * After how long a run is taken for dead that is not heard of: 30 if not given. A run that lives says so three times as often, however
   * long it takes; after a crash the next delivery runs again once the lease is over.
   */
  readonly lease?: number | undefined;
  /** For how long it is remembered that a callback is done: 604,800 (a week) if not given. Longer than its sender tries. */
  readonly remember?: number | undefined;
}

const schema = z.strictObject({
  store: objectOption<OnceStore>('begin', 'a store such as new MemoryOnceStore()'),
  lease: z.number().min(0.1).max(3_600).default(30),
  remember: z.number().min(1).max(31_622_400).default(604_800),
});

const MOST_BEHIND = 1_000;
/** Seconds. */
const LONGEST_BEHIND = 60;

/**
 * What became of a delivery, and the answer that its sender understands:
 * - `completed`: the handler ran and has completed.
 * - `done`: it had completed before, and did not run. To the sender that is as good.
 * - `in-progress`: another delivery of this callback is being handled. The sender tries again, and hears then.
 */
export type OnceOutcome<T> =
  | {
      readonly outcome: 'completed';
      readonly value: T;
      readonly status: 200;
      readonly headers: NoHeaders;
    }
  | { readonly outcome: 'done'; readonly status: 200; readonly headers: NoHeaders }
  | {
      readonly outcome: 'in-progress';
      readonly status: 503;
      readonly headers: { readonly 'retry-after': string };
    };

type NoHeaders = Readonly<Record<never, string>>;

/**
 * Runs a handler, unless it has completed for this callback before or is running for it.
 *
 * @param received the callback, or the request that brought it
 * @param handler called with the callback, and a signal that is aborted where another run has taken over meanwhile. What it throws is
 * thrown on: nothing is remembered then, and the next delivery runs
 * @throws SignatureError `ERR_NONCE_STORE_FAILED` (503) where the store failed: nothing ran, or it is not certain that it is remembered;
 * also where the whole store is full. `ERR_TOO_MANY_CALLBACKS` (429) if as many callbacks of this sender are remembered as one sender may
 * have: nothing ran. The sender tries again, so nothing is lost
 * @throws TypeError where nothing has verified the request
 */
export type Once = <T>(
  received: CallbackIdentity | object,
  handler: (callback: CallbackIdentity, signal: AbortSignal) => T | Promise<T>,
) => Promise<OnceOutcome<T>>;

/**
 * Builds what makes handlers run once for each callback, however often that is delivered. Callbacks
 * are told apart by their `id`, their `sender` and the secrets that they are verified with: all are
 * signed or configured, and no header that anybody could change is among them. So two receivers
 * with secrets of their own can share a store. Keep an old secret in the list for as long as its
 * sender may try again.
 *
 * Between the end of a handler and the store's note of it there is a moment; a process that is killed in it runs the handler again. What
 * must not happen twice even then belongs in one transaction with the handler's own writes, under the same id.
 *
 * @param options durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createOnce, MemoryOnceStore } from '@countersign/server/callbacks';
 * import { withCallback } from '@countersign/server/fetch';
 *
 * const once = createOnce({ store: new MemoryOnceStore() });
 * // In Express: handleOnce(once, handler).
 * const receive = withCallback(
 *   async (_request, received) => {
 *     const { status, headers } = await once(received, (callback) => console.log('Handled once:', callback.id));
 *     return new Response(null, { status, headers });
 *   },
 *   { secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'] },
 * ); console.assert((await receive(new Request('https://api.test/', { method: 'POST', body: '{}'
 * }))).status === 401);
 * ```
 * @see docs/callbacks.md
 */
export function createOnce(options: OnceOptions): Once {
  const { store, lease, remember } = parseOptions('once', schema, options);
  /** Runs that are released after their answers. */
  let behind = 0;

  /** Once, and where that fails again behind the answer: nobody shall wait for the end of a lease that nothing needs. */
  async function release({ key, scope }: Name, token: string): Promise<void> {
    const act = async () => store.release(key, token, scope);
    try {
      await act();
    } catch {
      // A store that comes back must not meet all that it has missed: those leases end by themselves.
      if (behind >= MOST_BEHIND) return;
      behind++;
      insist(act, Math.min(lease, LONGEST_BEHIND), { ref: false })
        .catch(() => undefined)
        .finally(() => {
          behind--;
        });
    }
  }

  /** Under all names, in one order: of two deliveries at the same time the one that has the first name has all. */
  async function begin(names: readonly Name[], token: string): Promise<OnceState> {
    for (const [index, name] of names.entries()) {
      let begun: OnceState;
      try {
        begun = await store.begin(name.key, token, lease, name.scope);
        // In the positive: whatever else a store says runs nothing.
        if (!STATES.has(begun?.state)) throw new TypeError('It gave an answer that is none');
      } catch (error) {
        // It may have begun all the same, and only the answer was lost.
        for (const begunName of names.slice(0, index + 1)) void release(begunName, token);
        throw failed(error);
      }
      if (begun.state === 'begun') continue;
      for (const begunName of names.slice(0, index)) await release(begunName, token);
      return begun;
    }
    return { state: 'begun' };
  }

  return async function once(received, handler) {
    const callback = isIdentity(received) ? received : callbackOf(received);
    const names = namesOf(callback);
    const token = randomBytes(16).toString('base64url');
    const begun = await begin(names, token);
    if (begun.state === 'full') throw full(callback.sender, begun);
    if (begun.state === 'done') return { outcome: 'done', status: 200, headers: {} };
    if (begun.state === 'in-progress') {
      const seconds = Math.max(1, Math.ceil(begun.seconds));
      const headers = { 'retry-after': String(seconds) };
      return { outcome: 'in-progress', status: 503, headers };
    }

    const taken = new AbortController();
    const goOn = async ({ key, scope }: Name): Promise<void> => {
      const isOurs = await store.goOn(key, token, lease, scope);
      if (!isOurs) taken.abort(new Error('Another run has taken over this callback'));
    };
    const beat = setInterval(
      () => {
        // If the store is not reached, the lease goes on until it ends, and so does the run.
        for (const name of names) goOn(name).catch(() => undefined);
      },
      (lease * 1000) / 3,
    );
    try {
      let value: Awaited<ReturnType<typeof handler>>;
      try {
        value = await handler(callback, taken.signal);
      } catch (error) {
        // Not one moment later: a run that goes on would have the callback again.
        clearInterval(beat);
        for (const name of names) await release(name, token);
        throw error;
      }
      for (const { key, scope } of names)
        await insist(() => store.finish(key, remember, scope), lease);
      return { outcome: 'completed', value, status: 200, headers: {} };
    } finally {
      clearInterval(beat);
    }
  };
}

const STATES = new Set<unknown>([
  'begun',
  'done',
  'in-progress',
  'full',
] satisfies OnceState['state'][]);

/** What a callback is known by in the store. */
interface Name {
  readonly key: string;
  readonly scope: OnceScope;
}

/**
 * What a callback is known by: its sender and id, for each secret that it could have been signed
 * with. While a secret is rotated there are two, and the next delivery may be signed with either.
 */
function namesOf(callback: CallbackIdentity): Name[] {
  const { sender, id } = callback;
  const { inForce, signer } = scopesOf(callback);
  // None of the parts can hold a line feed, so no two lists of parts have one name.
  const nameOf = (...parts: string[]) => hash('sha256', parts.join('\n'), 'base64url');
  const countsFor = nameOf(sender, signer);
  return inForce
    .map((secret) => ({
      key: nameOf(sender, secret, id),
      scope: { id: nameOf(sender, secret), countsFor },
    }))
    .sort((one, other) => (one.key < other.key ? -1 : 1));
}

/** Seconds after which a sender asks again, at most: the bound may have been raised meanwhile. */
const LONGEST_RETRY = 3_600;

/** The refusal of a callback for which there is no room. Its sender tries again, so it is not lost. */
function full(
  sender: string,
  { of, option, most, seconds }: Extract<OnceState, { state: 'full' }>,
): SignatureError {
  // In the positive: what is no number is the shortest time.
  const retryAfter = seconds >= 1 ? Math.min(Math.ceil(seconds), LONGEST_RETRY) : 1;
  const cure = `raise ${quote(option)} of the store, or lower "remember" of createOnce()`;
  if (of === 'sender')
    return new SignatureError(
      'ERR_TOO_MANY_CALLBACKS',
      `Cannot remember another callback of sender ${quote(sender)}: there are ${most}, the most for one sender; ${cure}`,
      { retryAfter },
    );
  return new SignatureError(
    'ERR_NONCE_STORE_FAILED',
    `Cannot remember another callback of any sender: there are ${most}, the most for the whole store; ${cure}`,
    { retryAfter },
  );
}

/** Tries again for a while, as a store may that restarts: nothing it has missed makes a handler run again, or wait. */
async function insist(
  act: () => Promise<void>,
  seconds: number,
  { ref = true }: { readonly ref?: boolean } = {},
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  for (let pause = 20; ; pause = Math.min(2 * pause, 1_000)) {
    try {
      return await act();
    } catch (error) {
      if (!(performance.now() + pause < end)) throw failed(error);
    }
    // Not all at the same time.
    await sleep(pause * (0.5 + Math.random()), undefined, { ref });
  }
}

/** The sender tries again; only whoever runs the server sees why it has to. */
function failed(cause: unknown): SignatureError {
  return storeFailed('nonce', cause, 'The store of handled callbacks failed');
}

function isIdentity(value: unknown): value is CallbackIdentity {
  const { id, sender, text } = (value ?? {}) as Partial<CallbackIdentity>;
  return typeof id === 'string' && typeof sender === 'string' && typeof text === 'function';
}
