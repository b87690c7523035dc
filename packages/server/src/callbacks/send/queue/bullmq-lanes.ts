import type { Queue } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import type { CallbackJob } from './bullmq-job.ts';
import { ENTER_LANE_SCRIPT, FIRST_OF_LANE_SCRIPT } from './lane-scripts.ts';

interface Commands {
  enterLane(lane: string, id: string): Promise<number>;
  firstOfLane(lane: string, id: string): Promise<[first?: string, seconds?: number]>;
}

/**
 * Seconds. If a callback is in a lane, or counts as waiting, for this time and has no job, it was
 * never queued: its sender was killed in between, so `send()` had not resolved.
 */
export const GHOST_AFTER = 60;

/** The lanes of a queue in Redis. A lane is a sorted set beside the jobs. */
export class BullmqLanes {
  readonly #redis: (Redis | Cluster) & Commands;
  readonly #queue: Pick<Queue, 'getJob' | 'getJobState'>;
  readonly #prefix: string;

  /** @param prefix what the names of lanes begin with */
  constructor(
    redis: Redis | Cluster,
    queue: Pick<Queue, 'getJob' | 'getJobState'>,
    prefix: string,
  ) {
    redis.defineCommand('enterLane', { numberOfKeys: 1, lua: ENTER_LANE_SCRIPT });
    redis.defineCommand('firstOfLane', { numberOfKeys: 1, lua: FIRST_OF_LANE_SCRIPT });
    this.#redis = redis as (Redis | Cluster) & Commands;
    this.#queue = queue;
    this.#prefix = prefix;
  }

  async enter(lane: string, id: string): Promise<void> {
    await this.#redis.enterLane(this.#key(lane), id);
  }

  /**
   * Whether a callback may be sent: it is the first of its lane, or it is in no lane because it was
   * redelivered. A finished callback before it is removed.
   */
  async isFirst(lane: string, id: string): Promise<boolean> {
    for (;;) {
      const [first, seconds = 0] = await this.#redis.firstOfLane(this.#key(lane), id);
      if (first === undefined || first === id) return true;
      const state = await this.#queue.getJobState(first);
      const isGone = state === 'completed' || state === 'failed';
      if (!isGone && !(state === 'unknown' && seconds > GHOST_AFTER)) return false;
      await this.#redis.zrem(this.#key(lane), first);
    }
  }

  /** Takes a callback out of its lane, and wakes the next one. */
  async leave({ id, data: { lane } }: CallbackJob): Promise<void> {
    if (lane === undefined) return;
    await this.#redis.zrem(this.#key(lane), id as string);
    const [next] = await this.#redis.zrange(this.#key(lane), '0', '0');
    const job = next === undefined ? undefined : await this.#queue.getJob(next);
    // If the job is not delayed, it runs already or is about to.
    await job?.promote().catch(() => undefined);
  }

  #key(lane: string): string {
    return `${this.#prefix}${lane}`;
  }
}
