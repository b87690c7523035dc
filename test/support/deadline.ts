// A test that runs into the timeout of vitest tells nothing. These say what a test has waited for
// in vain.

/** Seconds. Nothing that works takes so long, on a busy machine either. */
const LONGEST_WAIT = 20;

// Read once: a test may replace timers for a while.
const { setTimeout, clearTimeout, setImmediate, performance } = globalThis;

/** Waits for a promise. If it does not settle in time, it rejects and says what did not happen. */
export function within<T>(promise: Promise<T>, what: string): Promise<T> {
  // Made here, so that its stack leads to the test.
  const error = new Error(`Waited ${LONGEST_WAIT} s in vain: ${what}`);
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(error), LONGEST_WAIT * 1000).unref();
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Waits until something holds, and looks in each turn of the event loop. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + LONGEST_WAIT * 1000;
  while (!(await holds())) {
    if (!(performance.now() < end)) throw new Error(`Waited ${LONGEST_WAIT} s in vain: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
