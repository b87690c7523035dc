import { quote } from '@countersign/shared';
import type { ClaimOutcome } from '../../verify/nonce-store.ts';

/** What the script answers. */
export interface ScriptReply {
  readonly outcome: ClaimOutcome['outcome'] | 'alive' | 'pending';
  readonly epoch: string;
  /** Seconds to wait, if the outcome is `uncertain` or `exhausted`. */
  readonly wait: number;
  readonly tick: number;
  /** How many replicas Redis has. Only the answer to a look says so. */
  readonly replicas: number;
  /** Milliseconds: the widest window of the audience. 0 for a look. */
  readonly window: number;
  /** Milliseconds: the widest `ahead` of the audience. 0 for a look. */
  readonly ahead: number;
  /** Why the epoch began, as a letter. Empty if the script did not say it. */
  readonly why: string;
}

/** The clock of Redis differs by more than the slack from another clock. */
export class ClocksApartError extends Error {
  /** Seconds by which the clock of Redis is ahead, or behind if it is negative. */
  readonly by: number;

  /**
   * @param by seconds by which the clock of Redis is ahead
   * @param other the clock that it was compared with
   */
  constructor(by: number, other: string) {
    const difference = `${Math.abs(by).toFixed(1)} s ${by > 0 ? 'ahead of' : 'behind'}`;
    super(`The clock of Redis is ${difference} ${other}: set the clocks right`);
    this.by = by;
  }
}

const OUTCOMES = new Set([
  'claimed',
  'replayed',
  'uncertain',
  'stale',
  'early',
  'exhausted',
  'alive',
  'pending',
]);

/**
 * Reads a reply of the script.
 *
 * @throws Error if Redis cannot be relied on; the message says why
 * @throws TypeError if the reply is not an answer of the script
 */
export function parseReply(reply: unknown): ScriptReply {
  const [outcome, epoch, wait, tick, replicas = 0, window = 0, ahead = 0, why = ''] = Array.isArray(
    reply,
  )
    ? (reply as unknown[])
    : [];
  if (outcome === 'apart' && typeof wait === 'number')
    throw new ClocksApartError(wait / 1000, 'the clock of this server');
  if (outcome === 'set-back' && typeof wait === 'number')
    throw new ClocksApartError(wait / 1000, 'the time that Redis gave before');
  if (outcome === 'replica') throw new Error(REPLICA);
  if (outcome === 'hidden')
    throw new Error(
      'INFO of Redis does not tell "master_replid": allow the nonce store to read it',
    );
  const isAnswer =
    OUTCOMES.has(outcome as string) &&
    typeof epoch === 'string' &&
    typeof wait === 'number' &&
    typeof tick === 'number' &&
    tick > 0 &&
    typeof replicas === 'number' &&
    typeof window === 'number' &&
    typeof ahead === 'number' &&
    typeof why === 'string';
  if (!isAnswer)
    throw new TypeError(
      `Cannot read the reply of Redis: expected an outcome, got ${quote(outcome)}`,
    );
  return {
    outcome: outcome as ScriptReply['outcome'],
    epoch,
    wait,
    tick,
    replicas,
    window,
    ahead,
    why,
  };
}

/** If Redis has become a replica since the connection was made. */
export const REPLICA =
  'Redis is a replica. Connect to the master: through Sentinel, or by its name';
