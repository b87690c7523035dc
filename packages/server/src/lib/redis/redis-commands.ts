type Form = (key: string, channel: string) => string[];

/**
 * For each command, arguments with which it changes nothing if the key does not exist. Redis 6.2
 * cannot tell whether a user may run a command, so the commands are run.
 */
const READS: Record<string, Form> = {
  EXISTS: (key) => [key],
  GET: (key) => [key],
  HEXISTS: (key) => [key, ''],
  HGET: (key) => [key, ''],
  HGETALL: (key) => [key],
  HLEN: (key) => [key],
  HMGET: (key) => [key, ''],
  LINDEX: (key) => [key, '0'],
  LLEN: (key) => [key],
  LPOS: (key) => [key, ''],
  LRANGE: (key) => [key, '0', '0'],
  PTTL: (key) => [key],
  SCARD: (key) => [key],
  SMEMBERS: (key) => [key],
  ZCARD: (key) => [key],
  ZCOUNT: (key) => [key, '0', '0'],
  ZRANDMEMBER: (key) => [key],
  ZRANGE: (key) => [key, '0', '0'],
  ZRANGEBYSCORE: (key) => [key, '0', '0'],
  ZREVRANGE: (key) => [key, '0', '0'],
  ZREVRANGEBYSCORE: (key) => [key, '0', '0'],
  ZSCORE: (key) => [key, ''],
};

const WRITES: Record<string, Form> = {
  DEL: (key) => [key],
  EXPIRE: (key) => [key, '1'],
  EXPIREAT: (key) => [key, '1'],
  HDEL: (key) => [key, ''],
  // An error, since "x" is no number.
  HINCRBY: (key) => [key, '', 'x'],
  HMSET: (key) => [key, 'a', 'b', 'c'],
  // An error, since a field has no value.
  HSET: (key) => [key, 'a', 'b', 'c'],
  INCR: (key) => [key],
  LPOP: (key) => [key],
  LPUSH: (key) => [key, ''],
  LREM: (key) => [key, '0', ''],
  LTRIM: (key) => [key, '0', '0'],
  PERSIST: (key) => [key],
  PEXPIRE: (key) => [key, '1'],
  PEXPIREAT: (key) => [key, '1'],
  RENAME: (key) => [key, key],
  RPOP: (key) => [key],
  RPOPLPUSH: (key) => [key, key],
  RPUSH: (key) => [key, ''],
  SADD: (key) => [key, ''],
  SET: (key) => [key, '', 'XX'],
  SREM: (key) => [key, ''],
  UNLINK: (key) => [key],
  XADD: (key) => [key, 'NOMKSTREAM', '*', '', ''],
  XTRIM: (key) => [key, 'MAXLEN', '0'],
  ZADD: (key) => [key, 'XX', '0', ''],
  ZPOPMIN: (key) => [key],
  ZREM: (key) => [key, ''],
  ZREMRANGEBYRANK: (key) => [key, '0', '0'],
  ZREMRANGEBYSCORE: (key) => [key, '0', '0'],
};

const OTHERS: Record<string, Form> = {
  INFO: () => ['server'],
  // Listeners ignore an empty message.
  PUBLISH: (_, channel) => [channel, ''],
  TIME: () => [],
};

/** Commands that scripts may not run, so they are tried outside of a script. */
const OUTSIDE: Record<string, Form> = {
  // An error, since "x" is no number of seconds.
  BZPOPMIN: (key) => [key, 'x'],
  EVAL: (key) => ['return 1', '1', key],
  // An error, since there is no such script.
  EVALSHA: (key) => ['0'.repeat(40), '1', key],
  EVAL_RO: (key) => ['return 1', '1', key],
  WAIT: () => ['0', '0'],
};

export const FORMS = { ...READS, ...WRITES, ...OTHERS, ...OUTSIDE };

/** Whether a command writes keys. */
export function isWrite(command: string): boolean {
  return command in WRITES;
}

/** Whether scripts may not run a command. */
export function isOutside(command: string): boolean {
  return command in OUTSIDE;
}

/** A command with arguments that change nothing if the key does not exist. */
export function harmless(command: string, key: string, channel: string): string[] {
  const form = FORMS[command];
  if (form === undefined) throw new Error(`Cannot try ${command}: no form of it is harmless`);
  return [command, ...form(key, channel)];
}

/**
 * The commands that scripts run, read from their text so that none is forgotten.
 *
 * @throws Error if a script runs a command that its text does not name
 */
export function commandsOf(...scripts: readonly string[]): string[] {
  const text = scripts.join('\n');
  const commands = Array.from(text.matchAll(/redis\.call\('([A-Z]+)'/g), ([, name]) => `${name}`);
  if (commands.length !== text.match(/redis\.p?call\b/g)?.length)
    throw new Error('Cannot tell which commands a script runs: name each in redis.call()');
  return [...new Set(commands)];
}
