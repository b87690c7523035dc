import { commandsOf } from '../../../lib/redis/redis-commands.ts';
import { ENTER_LANE_SCRIPT, FIRST_OF_LANE_SCRIPT } from './lane-scripts.ts';
import { FINISH_SCRIPT, KEEP_SCRIPT, RESERVE_SCRIPT } from './owner-scripts.ts';

/**
 * The scripts of BullMQ that the queue runs. A test reads their text and compares it with the list
 * below.
 */
export const BULLMQ_SCRIPTS = [
  ...['addPrioritizedJob', 'extendLock', 'extendLocks', 'getRanges', 'getState', 'getStateV2'],
  ...['moveStalledJobsToWait', 'moveToActive', 'moveToDelayed', 'moveToFinished', 'promote'],
  ...['reprocessJob', 'updateProgress'],
];

/** The commands that these scripts run. */
export const BULLMQ_COMMANDS = [
  ...['EXISTS', 'GET', 'HDEL', 'HEXISTS', 'HGET', 'HGETALL', 'HINCRBY', 'HMGET', 'HMSET', 'HSET'],
  ...['INCR', 'LINDEX', 'LLEN', 'LPOP', 'LPOS', 'LPUSH', 'LRANGE', 'LREM', 'LTRIM', 'PERSIST'],
  ...['PEXPIRE', 'PTTL', 'RPOP', 'RPOPLPUSH', 'RPUSH', 'SADD', 'SCARD', 'SET', 'SMEMBERS', 'SREM'],
  ...['XADD', 'XTRIM', 'ZADD', 'ZCARD', 'ZPOPMIN', 'ZRANGE', 'ZRANGEBYSCORE', 'ZREM'],
  ...['ZREMRANGEBYRANK', 'ZREMRANGEBYSCORE', 'ZREVRANGE', 'ZREVRANGEBYSCORE', 'ZSCORE', 'DEL'],
];

const OURS = commandsOf(
  ...[ENTER_LANE_SCRIPT, FIRST_OF_LANE_SCRIPT],
  ...[FINISH_SCRIPT, KEEP_SCRIPT, RESERVE_SCRIPT],
);

/**
 * The commands that the queue's Redis user must be allowed to run. DEL comes last: on Redis 6.2 the
 * check really runs the commands, and DEL removes what they leave.
 */
export const QUEUE_COMMANDS = [
  ...new Set(['EVAL', 'EVALSHA', 'INFO', 'BZPOPMIN', ...OURS, ...BULLMQ_COMMANDS]),
]
  .filter((command) => command !== 'DEL')
  .concat('DEL');
