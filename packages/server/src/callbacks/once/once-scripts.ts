/**
 * What all scripts begin with. A sender and secret have two sorted sets of names of callbacks, each
 * with the milliseconds of Unix time until which it is kept: the callbacks that count for them, and
 * those that count for another secret of the same sender. A whole number says that a callback is
 * done. A run in progress has half a millisecond more, and its token lies in a key of its own.
 *
 * KEYS: those that count, the others, the token. ARGV: the name, whether it counts (1 or 0).
 */
const HEAD = `
local counted, others, run = KEYS[1], KEYS[2], KEYS[3]
local name = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local place = counted
local score = redis.call('ZSCORE', counted, name)
if not score then
  score = redis.call('ZSCORE', others, name)
  if score then place = others end
end
local till = tonumber(score or 0)
local isAlive = till > now
local isDone = isAlive and till % 1 == 0

-- What is there keeps counting as it did. Both sets go when the last of their names has expired.
local function keep(moment)
  if not isAlive then
    if score then redis.call('ZREM', place, name) end
    place = ARGV[2] == '1' and counted or others
  end
  redis.call('ZADD', place, moment, name)
  local last = redis.call('ZRANGE', place, -1, -1, 'WITHSCORES')[2]
  redis.call('PEXPIREAT', place, math.ceil(last))
end

local function lend(token, milliseconds)
  redis.call('SET', run, token, 'PX', milliseconds)
  keep(now + milliseconds + 0.5)
end
`;

/**
 * ARGV: also the token, the lease in ms, the most that may count. Asked again by the run that has
 * it, it is that run's still.
 */
export const BEGIN_SCRIPT = `${HEAD}
local token, most = ARGV[3], tonumber(ARGV[5])
if isDone then return {'done', 0} end
if isAlive and redis.call('GET', run) ~= token then
  return {'in-progress', math.floor(till - now)}
end
-- No call removes more than this, and each adds one.
for _, key in ipairs({counted, others}) do
  local over = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 100)
  if #over > 0 then redis.call('ZREM', key, unpack(over)) end
end
if not isAlive and ARGV[2] == '1' and redis.call('ZCARD', counted) >= most then
  local first = redis.call('ZRANGE', counted, 0, 0, 'WITHSCORES')[2]
  return {'full', math.floor(first - now)}
end
lend(token, ARGV[4])
return {'begun', 0}`;

/** ARGV: also the token, the lease in ms. */
export const GO_ON_SCRIPT = `${HEAD}
if isDone or (isAlive and redis.call('GET', run) ~= ARGV[3]) then return 0 end
lend(ARGV[3], ARGV[4])
return 1`;

/** ARGV: also for how long it is remembered, in ms. */
export const FINISH_SCRIPT = `${HEAD}
keep(now + ARGV[3])
redis.call('DEL', run)
return 1`;

/** ARGV: also the token. */
export const RELEASE_SCRIPT = `${HEAD}
if redis.call('GET', run) ~= ARGV[3] then return 0 end
redis.call('DEL', run)
return redis.call('ZREM', place, name)`;
