import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../lib/operator-warning.ts';
import { clockOr, parseOptions } from '../lib/options.ts';
import { redisOption } from '../lib/redis/own-connection.ts';
import type { FailureBlock, FailureLimit, SignatureKind } from '../verify/failure-limit.ts';
import { clientAddressName } from './client-address-name.ts';
import { FailureCounts } from './failure-counts.ts';
import { type FailureNames, type OwnCounts, RedisFailures } from './redis-failures.ts';

/** Options of {@link createFailureLimit}. */
export interface FailureLimitOptions {
  /** Failures after which a client address is blocked: 100 if not given. */
  readonly perClientAddress?: number | undefined;
  /**
   * Failures of one access key from one client address after which the two are blocked together: 10
   * if not given.
   */
  readonly perKey?: number | undefined;
  /** Seconds for which failures count, beginning with the first one: 60 if not given. */
  readonly per?: number | undefined;
  /**
   * The most client addresses, and the most pairs of client address and access key, that are
   * counted at once: 100,000 if not given. Counts in Redis have the same limit.
   */
  readonly maxEntries?: number | undefined;
  /**
   * A connection of ioredis, if servers are to count together. The limit makes its own connection
   * from it, at once.
   */
  readonly redis?: Redis | Cluster | undefined;
  /** The prefix of its keys in Redis: `countersign:failures` if not given. */
  readonly prefix?: string | undefined;
  /** Seconds, for how long failures count. If not given, a clock that no administrator can set. */
  readonly clock?: (() => number) | undefined;
  /**
   * Called if failures cannot be counted in Redis. If not given, a process warning says so. See
   * docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  perClientAddress: z.int().min(1).max(1_000_000).default(100),
  perKey: z.int().min(1).max(1_000_000).default(10),
  per: z.int().min(1).max(86_400).default(60),
  maxEntries: z.int().min(1).max(10_000_000).default(100_000),
  redis: redisOption.optional(),
  prefix: z.string().min(1).default('countersign:failures'),
  clock: clockOr(() => performance.now() / 1000),
  onWarning: warningOption,
});

/** A failure limit that may have its own connection to Redis. */
export interface ClosableFailureLimit extends FailureLimit {
  /**
   * Closes the limit's own connection to Redis, not the given one. Later failures are counted on
   * this server only.
   */
  close(): void;
}

/**
 * Limits failed signatures, by client address, and by client address and access key. Give it to a
 * verifier as `failures`. An accepted request writes nothing and asks no store.
 *
 * Failures of presigned URLs are counted apart. A page of an attacker can make its visitors send
 * wrong ones. That must not block signed requests of the visitors, or of others who share their
 * address.
 *
 * Each server counts what it refuses. With Redis it also counts there, and learns what other
 * servers have counted. Then an attacker has the limit, and one more guess for each further server,
 * or up to the limit for each if the guesses are sent at once. If Redis fails, no request is
 * refused for it: each server counts alone, and a process warning says so.
 *
 * @param options limits; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import {
 *   createVerifier,
 *   generateAccessKey,
 *   MemoryKeyStore,
 *   MemoryNonceStore,
 * } from '@countersign/server';
 * import { createFailureLimit } from '@countersign/server/failures';
 *
 * const failures = createFailureLimit({ perKey: 5 });
 * const verifier = createVerifier({
 *   audience: 'video-api',
 *   keys: new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]),
 *   nonces: new MemoryNonceStore(),
 *   failures,
 * });
 * console.assert(verifier.audience === 'video-api');
 * ```
 * @see docs/errors.md, "ERR_TOO_MANY_FAILURES"
 */
export function createFailureLimit(options: FailureLimitOptions = {}): ClosableFailureLimit {
  const settings = parseOptions('failure limit', optionsSchema, options);
  const { perClientAddress, perKey, per, maxEntries, clock } = settings;
  const kinds: Record<SignatureKind, OwnCounts> = {
    headers: newCounts('headers'),
    presigned: newCounts('presigned'),
  };
  const { redis, onWarning } = settings;
  const warnings = new OperatorWarnings(onWarning);
  const shared =
    redis === undefined ? undefined : new RedisFailures({ ...settings, redis, warnings });

  function newCounts(kind: SignatureKind): OwnCounts {
    const milliseconds = (): number => clock() * 1000;
    const clientAddresses = new FailureCounts(perClientAddress, per, maxEntries, milliseconds);
    const pairs = new FailureCounts(perKey, per, maxEntries, milliseconds);
    return { kind, clientAddresses, pairs };
  }

  let last = { clientAddress: '', name: '' };
  /** The name of an address. Each request needs it at least twice, so the last one is kept. */
  function nameOf(clientAddress: string): string {
    if (clientAddress !== last.clientAddress)
      last = { clientAddress, name: clientAddressName(clientAddress) };
    return last.name;
  }

  return {
    check(clientAddress, accessKeyId, kind = 'headers') {
      const counts = kinds[kind];
      // The usual case: while nothing is blocked, a request costs nothing.
      if (!counts.clientAddresses.blocks && !counts.pairs.blocks) return undefined;
      return blockOf(counts, namesOf(nameOf(clientAddress), accessKeyId));
    },

    record(clientAddress, accessKeyId, kind = 'headers') {
      const counts = kinds[kind];
      const names = namesOf(nameOf(clientAddress), accessKeyId);
      // Callers can make up ids. If the client address is blocked, no further id is recorded.
      if (blockOf(counts, names) !== undefined) return;
      counts.clientAddresses.add(names.clientAddress);
      counts.pairs.add(names.pair);
      void shared?.add(names, counts);
    },

    close: () => shared?.close(),
  };
}

/** An access key id has no space, so two pairs never have the same name. */
function namesOf(clientAddress: string, accessKeyId: string): FailureNames {
  return { clientAddress, pair: `${accessKeyId} ${clientAddress}` };
}

function blockOf(
  { clientAddresses, pairs }: OwnCounts,
  { clientAddress, pair }: FailureNames,
): FailureBlock | undefined {
  return (
    toBlock('client address', clientAddresses.blockedFor(clientAddress)) ??
    toBlock('access key', pairs.blockedFor(pair))
  );
}

function toBlock(of: FailureBlock['of'], milliseconds: number): FailureBlock | undefined {
  return milliseconds > 0 ? { of, seconds: Math.ceil(milliseconds / 1000) } : undefined;
}
