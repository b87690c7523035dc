import type { Cluster, Redis } from 'ioredis';
import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../lib/operator-warning.ts';
import { clockOr, parseOptions } from '../lib/options.ts';
import { redisOption } from '../lib/redis/own-connection.ts';
import type { FailureBlock, FailureLimit, SignatureKind } from '../verify/failure-limit.ts';
import { clientAddressName } from './client-address-name.ts';
import { FailureCounts } from './failure-counts.ts';
import { type FailureNames, type OwnCounts, RedisFailures } from './redis-failures.ts';

/** What a limit is built from. */
export interface FailureLimitOptions {
  /** Failures from one client address, after which nothing more is verified that comes from it: 100 if not given. */
  readonly perClientAddress?: number | undefined;
  /** Failures from one client address with one access key, after which nothing more is verified of the two: 10 if not given. */
  readonly perKey?: number | undefined;
  /** Seconds for which failures count, from the first one on: 60 if not given. */
  readonly per?: number | undefined;
  /**
   * The most client addresses, and the most pairs of client address and access key, that are counted at once: 100,000 if not given. The same holds for
   * what servers count together in Redis.
   */
  readonly maxEntries?: number | undefined;
  /** A connection of ioredis, so that servers count together. The limit makes one of its own of it, at once. */
  readonly redis?: Redis | Cluster | undefined;
  /** What the names of its keys in Redis begin with: `countersign:failures` if not given. */
  readonly prefix?: string | undefined;
  /** Unix seconds, for how long failures count; if not given, a clock that nobody can set. */
  readonly clock?: (() => number) | undefined;
  /** Called if failures cannot be counted in Redis. If not given, a process warning says so. See docs/errors.md, "Process warnings". */
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

/** A limit that holds a connection where it was given one. */
export interface ClosableFailureLimit extends FailureLimit {
  /** Closes the limit's own connection to Redis, not the one that it was given. What fails from then on is counted here only. */
  close(): void;
}

/**
 * Limits failed signatures, by client address, and by client address and access key: give it to a verifier as `failures`. A request that is
 * accepted writes nothing and asks nobody.
 *
 * Presigned URLs are counted apart: a page of an attacker can make its visitors send wrong ones, which must block neither their own
 * requests nor those of others behind their address.
 *
 * Each server counts what it refuses. With Redis it counts there as well, and hears what the others have counted: an attacker gets
 * the limit, and from each further server a guess more, or up to the limit of those that are sent at once. Where Redis fails nobody
 * is refused for it; a process warning says that each server counts alone.
 *
 * @param options limits; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createVerifier, generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
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
  /** Of each request it is asked twice or more. */
  function nameOf(clientAddress: string): string {
    if (clientAddress !== last.clientAddress)
      last = { clientAddress, name: clientAddressName(clientAddress) };
    return last.name;
  }

  return {
    check(clientAddress, accessKeyId, kind = 'headers') {
      const counts = kinds[kind];
      // Nearly always: who behaves pays for nothing.
      if (!counts.clientAddresses.blocks && !counts.pairs.blocks) return undefined;
      return blockOf(counts, namesOf(nameOf(clientAddress), accessKeyId));
    },

    record(clientAddress, accessKeyId, kind = 'headers') {
      const counts = kinds[kind];
      const names = namesOf(nameOf(clientAddress), accessKeyId);
      // Ids are the caller's to invent: where its client address is blocked, none is remembered.
      if (blockOf(counts, names) !== undefined) return;
      counts.clientAddresses.add(names.clientAddress);
      counts.pairs.add(names.pair);
      void shared?.add(names, counts);
    },

    close: () => shared?.close(),
  };
}

/** No access key id has a space in it, so no two pairs have one name. */
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
