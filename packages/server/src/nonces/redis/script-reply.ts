import { quote } from '@countersign/shared';
import type { ClaimOutcome } from '../../verify/nonce-store.ts';

/** What the script answers. */
export interface ScriptReply {
  readonly outcome: ClaimOutcome['outcome'] | 'alive' | 'pending';
  readonly epoch: string;
  /** Seconds to wait where the outcome is `uncertain` or `exhausted`. */
  readonly wait: number;
  readonly tick: number;
  /** How many replicas Redis has, where it was asked only to look after a partition. */
  readonly replicas: number;
  /** Milliseconds: the widest limits of the audience, where it was asked for a claim. */
  readonly window: number;
  readonly ahead: number;
  /** Why the epoch began, as a letter; empty if the script was not to say it. */
  readonly why: string;
}

/** The clocks of Redis and of this server differ by more than they may. */
export class ClocksApartError extends Error {
  /** Seconds by which the clock of Redis is ahead, or behind if it is negative. */
  readonly by: number;

  constructor(by: number) {
    super(
      `The clock of Redis is ${Math.abs(by).toFixed(1)} s ${by > 0 ? 'ahead of' : 'behind'} what it should be by the clock of this server, or by its own of before: set the clocks right`,
    );
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
 * Reads a reply. What is not an answer of the script must not be taken for one.
 *
 * @throws Error where Redis cannot be relied on, saying why
 * @throws TypeError where the reply is none
 */
export function parseReply(reply: unknown): ScriptReply {
  const [outcome, epoch, wait, tick, replicas = 0, window = 0, ahead = 0, why = ''] = Array.isArray(
    reply,
  )
    ? (reply as unknown[])
    : [];
  if (outcome === 'apart' && typeof wait === 'number') throw new ClocksApartError(wait / 1000);
  if (outcome === 'replica') throw new Error(REPLICA);
  if (outcome === 'hidden')
    throw new Error('Redis does not tell "master_replid" in INFO: let the nonce store see it');
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

/** What is said of a Redis that follows another one by now. */
export const REPLICA = 'Redis is a replica: nonces are claimed on a master';
