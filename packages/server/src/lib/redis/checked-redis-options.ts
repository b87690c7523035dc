import type { Cluster, Redis } from 'ioredis';
import type { OperatorWarnings } from '../operator-warning.ts';
import type { SelfTest } from './self-test.ts';

export interface CheckedRedisOptions {
  /** What the store keeps there, as messages name it. */
  readonly what: string;
  /** The part of its warning codes that names the store. */
  readonly store: 'NONCE_STORE' | 'KEY_STORE' | 'ONCE_STORE' | 'CALLBACK_QUEUE';
  readonly warnings: OperatorWarnings;
  /** What an unreachable Redis means for callers, as the warning says it. */
  readonly consequence: string;
  /** Milliseconds to wait for a connection. */
  readonly timeout: number;
  /** The eviction policies that keep what the store writes; `noeviction` if not given. */
  readonly policies?: RegExp;
  /**
   * Tells which permissions the user of the store lacks, if any.
   *
   * @param hasReplicas whether a replica was ever seen
   */
  readonly permissions: (
    redis: Redis | Cluster,
    hasReplicas: boolean,
  ) => Promise<string | undefined>;
  /** Called after each test that Redis has passed. */
  readonly whenFit?: () => void;
  /** Called with each test that Redis has answered. */
  readonly whenTested?: (test: SelfTest) => void;
  /** Makes the error that says that Redis is unfit. */
  readonly toError?: (message: string) => Error;
  /** Milliseconds between two tests of a lasting connection; 15,000 if not given. */
  readonly testEvery?: number;
}
