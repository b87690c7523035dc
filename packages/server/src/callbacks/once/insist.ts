import { setTimeout as sleep } from 'node:timers/promises';
import { onceStoreFailed } from './once-refusals.ts';

/**
 * Calls the store until it succeeds, for some seconds: it may be restarting. Without that, a
 * handler that has completed would run again.
 */
export async function insist(
  act: () => Promise<void>,
  seconds: number,
  { ref = true }: { readonly ref?: boolean } = {},
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  for (let pause = 20; ; pause = Math.min(2 * pause, 1_000)) {
    try {
      return await act();
    } catch (error) {
      if (!(performance.now() + pause < end)) throw onceStoreFailed(error);
    }
    // Spread the calls: many runs may be waiting for the same store.
    await sleep(pause * (0.5 + Math.random()), undefined, { ref });
  }
}
