import type { OperatorWarning } from '../lib/operator-warning.ts';

/**
 * Why an epoch began, by the letter that the script keeps beside it. `g` means `empty` to a server
 * that knew no epoch before.
 */
const CAUSES = {
  g: 'lost',
  r: 'restarted',
  b: 'rolled-back',
  a: 'unacknowledged',
  w: 'wider-window',
} as const;

export type EpochCause = (typeof CAUSES)[keyof typeof CAUSES] | 'empty';

const WHAT: Readonly<Record<EpochCause, string>> = {
  empty:
    'Redis held nothing of the store. That is expected of a new Redis, and of one that restarted and keeps nothing on disk',
  lost: 'Redis has lost what the store kept: it was flushed, it restarted without its data, or it evicted the key',
  restarted:
    'Redis restarted with data that may be older, a replica was promoted, or the slot moved',
  'rolled-back': 'Redis went back to an older state while it ran',
  unacknowledged: 'no replica has acknowledged claims for too long: check the replicas',
  'wider-window':
    'a verifier claims with a wider window than before, for which older nonces were not kept',
};

/** Reads the letter that the script keeps. */
export function epochCause(letter: string, knewAnother: boolean): EpochCause | undefined {
  if (letter === 'g' && !knewAnother) return 'empty';
  return CAUSES[letter as keyof typeof CAUSES];
}

/**
 * The warning that a nonce store has begun a new epoch.
 *
 * @param where the store, as the message names it
 * @param slack seconds
 */
export function epochWarning(
  where: string,
  cause: EpochCause,
  epoch: string,
  slack: number,
): Omit<OperatorWarning, 'code'> {
  const wait = Math.ceil(2 * slack + 1);
  const message = `The nonce store ${where} began a new epoch: ${WHAT[cause]}. Requests that were signed before are refused as replay-unknown: clients of ours sign again by themselves, others wait "ahead" of the verifier (5 s by default) and ${wait} s`;
  return { message, cause, epoch };
}
