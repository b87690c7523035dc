/**
 * Waits for work until a signal aborts the call. The transport does this only for a request that
 * was sent to it, so the wait for credentials before that needs its own check.
 *
 * @throws the reason of the signal
 */
export function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal | null | undefined,
): Promise<T> {
  if (!signal) return work;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort);
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
