/**
 * Decides one claim, in Redis, at once. What it rests on is told in `docs/replay.md`.
 *
 * `KEYS[1]` is a partition: one sorted set, so that all of it is lost, restored and moved together.
 * - Nonces, each scored by the moment until which its request is acceptable. They are removed by that and not by expiry:
 *   `SET … PXAT` in the past answers OK and remembers nothing.
 * - Behind them all the state, `<epoch>:<birth>:<incarnation>`, scored by the tick: the clock of Redis, but a microsecond more
 *   each time at least, so that it never goes back and no two calls have one.
 *   A server deletes a state that it cannot read. So its form stays, or servers of two versions would delete each other's.
 * - Where replicas are waited for, `acked` before it: the last tick that they are known to have.
 *
 * - `limits:<audience>`: the widest window and `ahead` that verifiers of an audience have claimed with. A nonce is kept for the widest
 *   window; with a wider one than before a new epoch begins, since what was forgotten could come again.
 * - `why:<epoch>`: the letter that says why the epoch began.
 * - `floor:<owner>`: until when requests of an owner may be acceptable that were refused for want of room.
 *
 * The epoch ends, and with it what it can vouch for, where the state is gone, comes from another incarnation of Redis (a restart,
 * a snapshot, a promotion, another node: `master_replid` changes with each), or is older than what a caller has seen (a rollback in
 * place).
 *
 * Beginning with `pending`, an epoch vouches for nothing until a caller, told by its replicas that they have it, confirms it. It
 * ends where replicas have not acknowledged anything for a while: they may have followed another master.
 *
 * `ARGV`: name of the nonce, or nothing only to look after the partition; signed at; acceptable from; until; the echoed epoch; an
 * epoch that nobody has used, to begin with if need be; the highest tick that the caller has seen; the caller's time; how long a
 * call may take; the slack between clocks; the owner, or nothing for a presigned URL; the seconds until the owner has room
 * again, or 0 if it has; the audience; the widest window and `ahead` of it that the caller knows, in milliseconds. Where replicas are waited for: for how long they may be silent; the epoch that the caller
 * knows; its last tick that they acknowledged; `1` where it confirms that epoch.
 *
 * Times are microseconds of Unix time in here, and seconds outside. Answers are `{outcome, epoch, wait, tick}`: the wait in seconds
 * where the outcome is `uncertain` or `exhausted`; where it is `apart` by how many milliseconds clocks are; and where a partition is `alive`, how
 * many replicas it has. Behind them, if this call has begun the epoch or only looks after the partition, a letter says why the epoch began: see
 * `epoch-warning`.
 */
export const CLAIM_SCRIPT = `
-- Beyond all times of nonces, and exact: numbers are whole up to 9e15.
local STATE, ACKED, LIMITS, LETTERS = 4e15, 3e15, 3e15, 3e15
-- In 50 ms, 20,000 a second: more than are claimed, and no more at once than can be felt.
local CLEANED_EVERY, MOST_CLEANED = 50000, 1000

local key, nonce, echoed = KEYS[1], ARGV[1], ARGV[5]
local function micros(text)
  local number = tonumber(text)
  return number and number - number == 0 and number * 1000000
end
local signed, from, till = micros(ARGV[2]), micros(ARGV[3]), micros(ARGV[4])
local seen, sent, late, slack = ARGV[7] + 0, ARGV[8] * 1000000, ARGV[9] * 1000000, ARGV[10] * 1000000
local owner, full = ARGV[11], ARGV[12] + 0
local audience, window, ahead = ARGV[13], ARGV[14] + 0, ARGV[15] + 0
local lease, known = (ARGV[16] or 0) * 1000000, ARGV[17]

local clock = redis.call('TIME')
local time = clock[1] * 1000000 + clock[2]
-- Nothing is changed by a clock that is wrong: what it makes look old would be forgotten.
if not (time >= sent - slack and time <= sent + late + slack) then
  return {'apart', '', (time - sent) / 1000, 0}
end

local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
local state = last[1]
local epoch, birth, of = string.match(state or '', '^([%w_-]+):(%w+):(%w+)$')
if state and not epoch then
  redis.call('DEL', key)
  state = nil
end
local tick = epoch and last[2] - STATE or 0
-- Set back by more than clocks may differ. What was forgotten by the old time must not come to life.
if tick > time + slack then return {'apart', '', (time - tick) / 1000, 0} end

local info = redis.call('INFO', 'replication')
if string.find(info, 'role:slave', 1, true) then return {'replica', '', 0, 0} end
local incarnation = of
-- Found as it stands, it need not be searched for with a pattern, which takes as long as all of the rest.
if not of or not string.find(info, 'master_replid:' .. of .. '\\r', 1, true) then
  incarnation = string.match(info, 'master_replid:(%w+)')
end
if not (incarnation and string.find(info, 'role:master', 1, true)) then return {'hidden', '', 0, 0} end

local now = math.max(time, tick + 1, seen + 1)
local lost = of ~= incarnation or seen > tick
local lapsed = false
if lease > 0 and not lost then
  local acked = (redis.call('ZSCORE', key, 'acked') or ACKED) - ACKED
  if known == epoch then acked = math.max(acked, ARGV[18] + 0) end
  if acked > 0 then redis.call('ZADD', key, 'GT', ACKED + acked, 'acked') end
  lapsed = birth ~= 'pending' and not (time - acked <= lease)
end
local widened = false
if audience ~= '' then
  local limits = (redis.call('ZSCORE', key, 'limits:' .. audience) or LIMITS) - LIMITS
  local widest, furthest = math.floor(limits / 1000000), limits % 1000000
  widened = widest > 0 and window > widest
  if window > widest or ahead > furthest then
    window, ahead = math.max(window, widest), math.max(ahead, furthest)
    redis.call('ZADD', key, string.format('%.0f', LIMITS + window * 1000000 + ahead), 'limits:' .. audience)
  else
    window, ahead = widest, furthest
  end
end
local is_confirmed = birth == 'pending' and (lease == 0 or known == epoch and ARGV[19] == '1')
local begins = lost or lapsed or widened
local why
if begins or is_confirmed then
  if begins then
    why = not epoch and 'g' or of ~= incarnation and 'r' or lost and 'b' or lapsed and 'a' or 'w'
    if state then redis.call('ZREM', key, 'why:' .. epoch) end
    epoch = ARGV[6]
    redis.call('ZADD', key, LETTERS + string.byte(why), 'why:' .. epoch)
  end
  birth = lease > 0 and not is_confirmed and 'pending' or string.format('%.0f', now)
  if state then redis.call('ZREM', key, state) end
  state = epoch .. ':' .. birth .. ':' .. incarnation
  -- At once: what is added last is counted, and must be the nonce alone.
  redis.call('ZADD', key, STATE + now, state)
end

if nonce == '' and not why then
  local letter = redis.call('ZSCORE', key, 'why:' .. epoch)
  why = letter and string.char(letter - LETTERS) or nil
end
local function answer(outcome, wait)
  redis.call('ZADD', key, STATE + now, state)
  return {outcome, epoch, wait or 0, now, 0, window, ahead, why}
end
if birth == 'pending' then return answer('pending') end
if math.floor(now / CLEANED_EVERY) ~= math.floor(tick / CLEANED_EVERY) then
  local expired = redis.call('ZCOUNT', key, '-inf', string.format('(%.0f', now - slack))
  if expired > 0 then redis.call('ZREMRANGEBYRANK', key, 0, math.min(expired, MOST_CLEANED) - 1) end
end
if nonce == '' then
  local alive = answer('alive')
  -- A client that copies the data for a backup is listed as a replica without a port.
  local _, copying = string.gsub(info, ',port=0,', '')
  alive[5] = tonumber(string.match(info, 'connected_slaves:(%d+)') or 0) - copying
  return alive
end
if not (signed and from and till and now <= till + slack) then return answer('stale') end
if not (from <= time + slack) then return answer('early') end
if ahead > 0 then from = math.min(from, signed - ahead * 1000) end
if owner ~= '' then till = math.max(till, signed + window * 1000) end

-- Until a request can be dated later than that. Requests are dated in whole seconds: the first that will do.
local function secondsTo(limit)
  local first = (math.floor(limit / 1000000) + 1) * 1000000
  return math.max(1, math.ceil((first - time) / 1000000))
end

-- All that could have been accepted before the birth, by a clock as far ahead as clocks may be, and one set back as far since.
local certain = birth + 2 * slack
if echoed ~= epoch and (echoed ~= '' or not (from > certain)) then
  if redis.call('ZSCORE', key, nonce) then return answer('replayed') end
  return answer('uncertain', secondsTo(certain + signed - from))
end

-- Until when requests of the owner may be acceptable that were refused for want of room. Its client will have signed them again by
-- the time that there is room, so they must not be accepted then. A presigned URL is never signed again.
local floor = owner ~= '' and (redis.call('ZSCORE', key, 'floor:' .. owner) or 0) + 0 or 0
if full > 0 or not (till > floor) then
  if redis.call('ZSCORE', key, nonce) then return answer('replayed') end
  if full > 0 and owner ~= '' then
    floor = math.max(floor, till)
    redis.call('ZADD', key, string.format('%.0f', floor), 'floor:' .. owner)
  end
  return answer('exhausted', math.max(full, secondsTo(floor - till + signed)))
end

-- GT: a nonce that comes again can be remembered for longer by that, never for shorter.
local added = redis.call('ZADD', key, 'GT', STATE + now, state, till, nonce)
return {added == 1 and 'claimed' or 'replayed', epoch, 0, now, 0, window, ahead, why}
`;
