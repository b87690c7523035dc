/**
 * Counts a failure of a client address and one of a pair of client address and access key, in Redis, at once. Both are kept as `FailureCounts`
 * keeps them: by name, in two hashes, of which the older is forgotten when the younger is full or old. So however many names
 * attackers come from, Redis never holds more than it may.
 *
 * `KEYS`: the younger and the older of client addresses, and of pairs, all in one slot of a cluster. `ARGV`: the client address; the pair; for how
 * many milliseconds a name counts; the most names of one hash.
 *
 * A name has `<failures> <end>`, in milliseconds of Unix time. The empty name, which no client address has, tells since when a hash is the
 * younger one. The answer: the failures of the client address and the milliseconds until its count ends, and those of the pair.
 */
export const COUNT_SCRIPT = `
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local per, most = ARGV[3] + 0, ARGV[4] + 0

local function count(young, old, name)
  local known = redis.call('HGET', young, name) or redis.call('HGET', old, name) or ''
  local failures, ends = string.match(known, '^(%d+) (%d+)$')
  failures, ends = (failures or 0) + 1, (ends or 0) + 0
  if not (ends > now and ends <= now + per) then failures, ends = 1, now + per end
  local since = redis.call('HGET', young, '')
  if since and not (now < since + per and redis.call('HLEN', young) <= most) then
    -- At once, a large hash would stop Redis for milliseconds.
    redis.call('UNLINK', old)
    redis.call('RENAME', young, old)
    redis.call('PEXPIRE', old, per)
    since = nil
  end
  if not since then
    redis.call('HSET', young, '', now)
    redis.call('PEXPIRE', young, 2 * per)
  end
  redis.call('HSET', young, name, string.format('%.0f %.0f', failures, ends))
  return failures, ends - now
end

local failures, left = count(KEYS[1], KEYS[2], ARGV[1])
local pair, pairLeft = count(KEYS[3], KEYS[4], ARGV[2])
return {failures, left, pair, pairLeft}
`;
