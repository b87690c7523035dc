/**
 * Reserves a place among the callbacks of an owner that wait. If too many wait it looks at some of
 * them: a sender that was killed may have reserved one for a callback that it never queued, and a
 * worker that was killed may have left one that is finished.
 *
 * KEYS the owner's waiting callbacks, the job; ARGV id, the most that may wait, the prefix of the
 * keys of jobs, seconds after which a callback without a job is forgotten
 *
 * Returns how many callbacks of the owner wait, including this one; 0 if there is no place; -1 if
 * the job is known.
 */
export const RESERVE_SCRIPT = `
if redis.call('EXISTS', KEYS[2]) == 1 then return -1 end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  local now = tonumber(redis.call('TIME')[1])
  local most = tonumber(ARGV[2])
  if redis.call('ZCARD', KEYS[1]) >= most then
    local some = redis.call('ZRANDMEMBER', KEYS[1], 20, 'WITHSCORES')
    for index = 1, #some, 2 do
      local job = ARGV[3] .. some[index]
      local isLost = now - some[index + 1] > tonumber(ARGV[4]) and redis.call('EXISTS', job) == 0
      if isLost or redis.call('HEXISTS', job, 'finishedOn') == 1 then
        redis.call('ZREM', KEYS[1], some[index])
      end
    end
    if redis.call('ZCARD', KEYS[1]) >= most then return 0 end
  end
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
return redis.call('ZCARD', KEYS[1])`;

/**
 * Records that a callback is about to finish. It no longer counts as waiting. It counts as finished
 * when KEEP_SCRIPT has run.
 *
 * KEYS the owner's waiting callbacks, the callbacks that are about to finish; ARGV id
 */
export const FINISH_SCRIPT = `
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])`;

/**
 * Bounds the finished jobs of one state, for each owner and for all owners together. If all
 * together have too many, the owner with the most loses its oldest. A job that was redelivered
 * meanwhile has left the state, so it stays.
 *
 * KEYS the owner's finished callbacks, how many each owner has, BullMQ's jobs of the state, the
 * callbacks that are about to finish; ARGV id, owner, the most of one owner, the most of all,
 * seconds for which they are kept, the prefix of the keys of jobs, the prefix of the first key
 */
export const KEEP_SCRIPT = `
local time = redis.call('TIME')
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', time[1] - 60)
if not redis.call('ZSCORE', KEYS[3], ARGV[1]) then return end
local now = time[1] * 1000000 + time[2]
local function forgetOldest(key)
  local oldest = redis.call('ZPOPMIN', key)[1]
  if oldest and redis.call('ZREM', KEYS[3], oldest) == 1 then
    redis.call('DEL', ARGV[6] .. oldest, ARGV[6] .. oldest .. ':logs')
  end
end
local function count(owner, key)
  local left = redis.call('ZCARD', key)
  if left == 0 then redis.call('ZREM', KEYS[2], owner) else redis.call('ZADD', KEYS[2], left, owner) end
end
local function forgetExpired(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - ARGV[5] * 1000000))
end
forgetExpired(KEYS[1])
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[5])
while redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[3]) do forgetOldest(KEYS[1]) end
count(ARGV[2], KEYS[1])
while redis.call('ZCARD', KEYS[3]) - redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[4]) do
  local largest = redis.call('ZREVRANGE', KEYS[2], 0, 0)[1]
  if not largest then break end
  local key = ARGV[7] .. largest
  forgetExpired(key)
  forgetOldest(key)
  count(largest, key)
end`;
