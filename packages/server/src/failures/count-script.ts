/**
 * Counts one failure of a client address, and one of a pair of client address and access key, in
 * one step. Both are kept as in `FailureCounts`: by name, in two hashes. If the younger hash is
 * full or old, it replaces the older one. So Redis never holds more than the limit, however many
 * names attackers use.
 *
 * `KEYS`: the younger and the older hash of client addresses, then those of pairs, all in one slot
 * of a cluster. `ARGV`: the client address; the pair; the milliseconds for which a name counts; the
 * most names of one hash.
 *
 * The value of a name is `<failures> <end>`, in milliseconds of Unix time. The empty name, which no
 * client address has, holds the time since when a hash is the younger one. The answer: the failures
 * of the client address and the milliseconds until its count ends, then the same of the pair.
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
