/**
 * Decides one claim, in Redis, at once. What it rests on is told in `docs/replay.md`.
 *
 * `KEYS[1]` is a partition: one sorted set, so that all of it is lost, restored and moved together.
 * - Its first member is the state, `<epoch>:<birth>:<incarnation>`. Its score is the tick, negative: the clock of Redis,
 *   but for a microsecond more each time at least, so that it never goes back and no two calls have one.
 * - Where replicas are waited for, `acked` follows: the last tick that they are known to have, negative too.
 * - The others are nonces, each scored by the moment until which its request is acceptable. They are removed by that and not
 *   by expiry: `SET … PXAT` in the past answers OK and remembers nothing.
 *
 * The epoch ends, and with it what its members can vouch for, where the state is gone, comes from another incarnation of
 * Redis (a restart, a snapshot, a promotion, another node: `master_replid` changes with each), or is older than what a caller has
 * seen (a rollback in place).
 *
 * Beginning with `pending`, an epoch vouches for nothing until a caller, told by its replicas that they have it, confirms it. It
 * goes back to that where replicas have not acknowledged anything for a while: they may have followed another master.
 *
 * Times are microseconds of Unix time in here, and seconds outside. Answers are `{outcome, epoch, seconds, tick}`.
 */
export const CLAIM_SCRIPT = `
local nonce, echoed, newborn, known = ARGV[1], ARGV[5], ARGV[6], ARGV[7]
local function micros(index)
  local number = tonumber(ARGV[index])
  return number and number - number == 0 and number * 1000000
end
local signed, from, till = micros(2), micros(3), micros(4)
local seen, acked, confirms = tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10] == '1'
local sent, late, slack, lease = micros(11), micros(12), micros(13), micros(14)
local most = 1000

local function answer(outcome, epoch, micro, tick)
  return {outcome, epoch, tostring(micro / 1000000), string.format('%.0f', tick)}
end

local clock = redis.call('TIME')
local time = clock[1] * 1000000 + clock[2]
-- Nothing is changed by a clock that is wrong: what it makes look old would be forgotten.
local apart = time < sent - slack and time - sent or time > sent + late + slack and time - sent
if apart then return answer('apart', '', apart, 0) end

local info = redis.call('INFO', 'replication')
local incarnation = string.match(info, 'master_replid:(%w+)')
if not incarnation or not string.find(info, 'role:master', 1, true) then
  return answer(incarnation and 'replica' or 'hidden', '', 0, 0)
end

local first = redis.call('ZRANGE', KEYS[1], 0, 1, 'WITHSCORES')
local epoch, birth, of = string.match(first[1] or '', '^([%w_-]+):(%w+):(%w+)$')
if first[1] and not epoch then
  redis.call('DEL', KEYS[1])
  first = {}
end
local last = epoch and -tonumber(first[2]) or 0
-- Set back by more than clocks may differ. What was forgotten by the old time must not come to life.
if last > time + slack then return answer('apart', '', time - last, 0) end

local was, confirmed = birth, nil
if lease > 0 and epoch then
  if known ~= epoch then acked = 0 end
  confirmed = math.max(acked, -(tonumber(redis.call('ZSCORE', KEYS[1], 'acked') or 0)))
end
local lost = of ~= incarnation or seen > last
local lapsed = lease > 0 and birth ~= 'pending' and not lost and not (time - confirmed <= lease)
local now = math.max(time, last + 1, seen + 1)
local state = first[1]
if lost or lapsed then
  epoch, birth = newborn, lease > 0 and 'pending' or string.format('%.0f', now)
elseif birth == 'pending' and (lease == 0 or confirms and known == epoch) then
  birth = string.format('%.0f', now)
end
if lost or lapsed or birth ~= was then
  if state then redis.call('ZREM', KEYS[1], state) end
  state = epoch .. ':' .. birth .. ':' .. incarnation
end
redis.call('ZADD', KEYS[1], -now, state)
if confirmed and confirmed > 0 then redis.call('ZADD', KEYS[1], 'LT', -confirmed, 'acked') end

if birth == 'pending' then return answer('pending', epoch, 0, now) end
if nonce == '' then return answer('alive', epoch, 0, now) end

if not (signed and from and till and now <= till + slack) then return answer('stale', epoch, 0, now) end
if not (from <= time + slack) then return answer('early', epoch, 0, now) end

-- All that could have been accepted before the birth, by a clock as far ahead as clocks may be, and one set back as far since.
local certain = tonumber(birth) + 2 * slack
if echoed ~= epoch and (echoed ~= '' or not (from > certain)) then
  if redis.call('ZSCORE', KEYS[1], nonce) then return answer('replayed', epoch, 0, now) end
  -- Requests are dated in whole seconds: the first that will do.
  local anew = (math.floor((certain + signed - from) / 1000000) + 1) * 1000000
  return answer('uncertain', epoch, math.max(1, math.ceil((anew - time) / 1000000)) * 1000000, now)
end

-- A second's worth at a time, of which one call removes no more than can be felt.
local oldest, rank = tonumber(first[4] or '') or 0, 1
if oldest < 0 then oldest, rank = tonumber(redis.call('ZRANGE', KEYS[1], 2, 2, 'WITHSCORES')[2] or '') or 0, 2 end
if oldest > 0 and oldest < now - slack - 1000000 then
  local expired = redis.call('ZCOUNT', KEYS[1], 0, string.format('(%.0f', now - slack))
  redis.call('ZREMRANGEBYRANK', KEYS[1], rank, rank + math.min(expired, most) - 1)
end
if redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', till), nonce) == 0 then
  return answer('replayed', epoch, 0, now)
end
return answer('claimed', epoch, 0, now)
`;
