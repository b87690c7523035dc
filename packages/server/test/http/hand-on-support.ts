import type express5 from 'express';
import express from 'express';
import express4 from 'express4';
import { onTestFinished, vi } from 'vitest';
import type { Parties } from './sockets.ts';

export const FRAMEWORKS: [name: string, framework: typeof express5][] = [
  ['Express 5', express],
  ['Express 4', express4],
];

export const MODES = ['buffer', 'stream'] as const;

/** Lets the event loop turn, so that Node sees what has arrived. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
}

/** Whether the nonces are kept in this process, or by a server that must be asked. */
export type Store = 'memory' | 'slow';
export const STORES: Store[] = ['memory', 'slow'];

/**
 * Makes the nonce store answer some turns of the event loop later.
 *
 * @param meanwhile called when the store is asked
 */
export function slowDown({ nonces }: Pick<Parties, 'nonces'>, meanwhile?: () => unknown): void {
  const claim = nonces.claim.bind(nonces);
  nonces.claim = async (nonce) => {
    await meanwhile?.();
    await turns();
    return claim(nonce);
  };
}

/** A promise that a test settles. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/**
 * Replaces process warnings by a list of their codes. Each unhandled rejection is added to it.
 */
export function troubles(): string[] {
  const seen: string[] = [];
  const spy = vi.spyOn(process, 'emitWarning').mockImplementation(((_: string, options: object) => {
    seen.push((options as { code: string }).code);
  }) as typeof process.emitWarning);
  const record = (): void => void seen.push('unhandled rejection');
  process.on('unhandledRejection', record);
  onTestFinished(() => {
    spy.mockRestore();
    process.off('unhandledRejection', record);
  });
  return seen;
}
