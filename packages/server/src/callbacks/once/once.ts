import { randomBytes } from 'node:crypto';
import { quote } from '@countersign/shared';
import * as z from 'zod';
import { objectOption, parseOptions } from '../../lib/options.ts';
import type { CallbackIdentity } from '../receive/callback-identity.ts';
import { callbackOf } from '../receive/received-callbacks.ts';
import { insist } from './insist.ts';
import { type OnceName, onceNamesOf } from './once-names.ts';
import { onceStoreFailed, storeFull } from './once-refusals.ts';
import type { OnceState, OnceStore } from './once-store.ts';

/** Options of {@link createOnce}. Durations are seconds. */
export interface OnceOptions {
  /** Remembers what was handled: `MemoryOnceStore`, or `RedisOnceStore` for several servers. */
  readonly store: OnceStore;
  /**
   * A run is one call of the handler. It owns the callback for this time, its lease: 30 if not
   * given. It renews the lease three times in that time, so a handler may take as long as it needs.
   * If the process dies, the lease ends, and the next delivery runs the handler again.
   */
  readonly lease?: number | undefined;
  /**
   * For how long the store remembers that a callback is done: 604,800 (a week) if not given. It
   * must be longer than the sender tries.
   */
  readonly remember?: number | undefined;
}

const schema = z.strictObject({
  store: objectOption<OnceStore>('begin', 'a store such as new MemoryOnceStore()'),
  lease: z.number().min(0.1).max(3_600).default(30),
  remember: z.number().min(1).max(31_622_400).default(604_800),
});

/**
 * To release is to give back a lease, so that the next delivery can run. At most so many releases
 * that failed are tried again at a time, in the background.
 */
const MOST_IN_BACKGROUND = 1_000;
/** The longest time, in seconds, for which a release is tried again. The lease also limits it. */
const LONGEST_IN_BACKGROUND = 60;

/**
 * What became of a delivery, and how to answer its sender:
 * - `completed`: the handler ran and completed.
 * - `done`: the handler had completed before, and did not run again. The sender gets 200, too.
 * - `in-progress`: another delivery of this callback runs at this moment. It may still fail, so the
 *   sender must try again.
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
 * @param handler called with the callback, and with a signal that is aborted if another run takes
 * over. If the handler throws, the error is thrown on, nothing is remembered, and the next delivery
 * runs
 * @throws SignatureError `ERR_NONCE_STORE_FAILED` (503) if the store is full: nothing ran. Also if
 * the store failed: nothing ran, or the handler completed and the store may not remember it.
 * `ERR_TOO_MANY_CALLBACKS` (429) if this sender has used up its share of the store: nothing ran.
 * The sender tries again after both, so no callback is lost
 * @throws TypeError if no verifier has verified the request
 */
export type Once = <T>(
  received: CallbackIdentity | object,
  handler: (callback: CallbackIdentity, signal: AbortSignal) => T | Promise<T>,
) => Promise<OnceOutcome<T>>;

/**
 * Builds a function that runs a handler once for each callback, however often its sender delivers
 * it.
 *
 * The store has one entry of a callback for each secret of the verifier. Its name is made of `id`,
 * `sender` and secret. All three are signed or configured; no header that an attacker can change is
 * among them. So two receivers with secrets of their own can share a store. Keep an old secret in
 * `secrets` for as long as its sender may try again.
 *
 * One gap remains: if the process is killed after the handler has completed and before the store
 * remembers it, the next delivery runs the handler again. If something must not happen twice even
 * then, write the callback's id in the same database transaction as the handler's own data.
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
 *     const handle = () => console.log('Handled once:', received.id);
 *     const { status, headers } = await once(received, handle);
 *     return new Response(null, { status, headers });
 *   },
 *   { secrets: ['whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH'] },
 * );
 * const unsigned = new Request('https://api.test/', { method: 'POST', body: '{}' });
 * console.assert((await receive(unsigned)).status === 401);
 * ```
 * @see docs/callbacks.md
 */
export function createOnce(options: OnceOptions): Once {
  const { store, lease, remember } = parseOptions('once', schema, options);
  /** Releases that failed, and are tried again after the sender was answered. */
  let behind = 0;

  /**
   * Releases a run. If the store fails, this goes on trying after the sender was answered.
   * Otherwise the next delivery would be told `in-progress` until the lease ends, although nothing
   * runs.
   */
  async function release({ key, scope }: OnceName, token: string): Promise<void> {
    const act = async () => store.release(key, token, scope);
    try {
      await act();
    } catch {
      // A store that comes back must not be flooded with old releases. Their leases end by
      // themselves.
      if (behind >= MOST_IN_BACKGROUND) return;
      behind++;
      insist(act, Math.min(lease, LONGEST_IN_BACKGROUND), { ref: false })
        .catch(() => undefined)
        .finally(() => {
          behind--;
        });
    }
  }

  /**
   * Begins a run under all names of a callback. All runs take the names in the same order, so if
   * two deliveries arrive together, the one that gets the first name gets all of them.
   */
  async function begin(names: readonly OnceName[], token: string): Promise<OnceState> {
    for (const [index, name] of names.entries()) {
      let begun: OnceState;
      try {
        begun = await store.begin(name.key, token, lease, name.scope);
        // Only a known answer lets the handler run: a store of the application may have a fault.
        if (!STATES.has(begun?.state))
          throw new TypeError(
            `The store answered ${quote(begun?.state)}: expected ${[...STATES].join(', ')}`,
          );
      } catch (error) {
        // The store may have begun the run, and only its answer was lost. So this name is released,
        // too.
        for (const begunName of names.slice(0, index + 1)) void release(begunName, token);
        throw onceStoreFailed(error);
      }
      if (begun.state === 'begun') continue;
      for (const begunName of names.slice(0, index)) await release(begunName, token);
      return begun;
    }
    return { state: 'begun' };
  }

  return async function once(received, handler) {
    const callback = isIdentity(received) ? received : callbackOf(received);
    const names = onceNamesOf(callback);
    const token = randomBytes(16).toString('base64url');
    const begun = await begin(names, token);
    if (begun.state === 'full') throw storeFull(callback.sender, begun);
    if (begun.state === 'done') return { outcome: 'done', status: 200, headers: {} };
    if (begun.state === 'in-progress') {
      const seconds = Math.max(1, Math.ceil(begun.seconds));
      const headers = { 'retry-after': String(seconds) };
      return { outcome: 'in-progress', status: 503, headers };
    }

    const taken = new AbortController();
    const goOn = async ({ key, scope }: OnceName): Promise<void> => {
      const isOurs = await store.goOn(key, token, lease, scope);
      if (!isOurs) taken.abort(new Error('Another run has taken over this callback'));
    };
    const beat = setInterval(
      () => {
        // If the store cannot be reached, the handler goes on. After its lease another run may
        // begin. Then the signal is aborted when the store can be reached again.
        for (const name of names) goOn(name).catch(() => undefined);
      },
      (lease * 1000) / 3,
    );
    try {
      let value: Awaited<ReturnType<typeof handler>>;
      try {
        value = await handler(callback, taken.signal);
      } catch (error) {
        // Stop before the release: one more renewal would take the callback again.
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

function isIdentity(value: unknown): value is CallbackIdentity {
  const { id, sender, text } = (value ?? {}) as Partial<CallbackIdentity>;
  return typeof id === 'string' && typeof sender === 'string' && typeof text === 'function';
}
