/**
 * The script that decides one claim of a nonce. Redis runs it as one step, so no other claim comes
 * in between. `docs/replay.md` says why it is safe.
 *
 * ## The sorted set
 *
 * `KEYS[1]` is one sorted set with all nonces of some access keys, and with the state of the store.
 * All of it lies in one key of Redis, so it is lost, restored and moved together. "Words", below,
 * explains the terms of this table:
 *
 * | member | score |
 * |---|---|
 * | a nonce: a hash of audience, key and nonce | the time until which its request is acceptable |
 * | `floor:<owner>` | the end of the last request that was refused because the owner had no room |
 * | `acked`, if claims wait for replicas | 3e15 + the last tick that replicas are known to have |
 * | `limits:<audience>` | 3e15 + widest window × 1e6 + widest `ahead` (< 1e6), in milliseconds |
 * | `why:<epoch>` | 3e15 + the letter that says why the epoch began |
 * | the state, `<epoch>:<birth>:<incarnation>` | 4e15 + the tick |
 *
 * Times are microseconds of Unix time. A time of a nonce is below 3e15, so scores sort the nonces
 * and floors first, and the state last. The script removes what has expired from the start of the
 * set. It does not use the expiry of Redis: `SET … PXAT` with a time in the past answers OK and
 * keeps nothing.
 *
 * Servers of one audience may have different windows. So a nonce is kept for the widest of them.
 *
 * Never change the form of the state. A server deletes a state that it cannot read, so during an
 * update old and new servers would delete each other's.
 *
 * ## Words
 *
 * - Claim: a call that asks to record a nonce. Look: a call without a nonce, which only asks for
 *   the state.
 * - Window: for how long after its signing a request is acceptable. `ahead`: how far in the future
 *   it may be dated. Acceptable: from `ahead` before its signing until the window ends.
 * - Owner: whose nonces are counted together: a subject at an audience.
 * - Epoch: the random name of one life of the set. Within one epoch, every nonce whose request is
 *   still acceptable is in the set. Clients echo the epoch in requests that they sign.
 * - Birth: when the epoch began, or `pending` until replicas have it.
 * - Floor: the birth + 2 × slack. A request that became acceptable before the floor may have been
 *   accepted in an earlier epoch, so it must echo the present epoch. It became acceptable `ahead`
 *   before it was signed: that is why clients without the echo wait for `ahead` + 2 × slack. The
 *   member `floor:<owner>` is another floor, for the requests of one owner.
 * - Tick: a clock that never goes back: the time of Redis in microseconds, or the tick before plus
 *   one, if that is later. No two calls have the same tick.
 * - Incarnation: `master_replid`. Redis changes it at each start and each promotion.
 * - Slack: by how much the clocks of the servers and of Redis may differ.
 *
 * ## When an epoch ends
 *
 * A new epoch begins if nonces may be missing. The letter says why; `epoch-warning.ts` explains it
 * to the operator:
 *
 * - `g`: the state is gone. Redis was flushed, or evicted the key.
 * - `r`: the incarnation is another one. Redis restarted, loaded a snapshot, or was promoted; or
 *   the key moved to another node.
 * - `b`: the tick is lower than one that this server has received before. Redis went back to an
 *   older state while it ran.
 * - `a`: replicas have acknowledged nothing for too long (see below).
 * - `w`: a verifier claims with a wider window than any before. Nonces that it would still accept
 *   may be forgotten.
 *
 * ## Replicas
 *
 * If claims wait for replicas, the server runs `WAIT` after each call, and tells the next call the
 * last tick that they acknowledged. A new epoch is `pending`: it accepts nothing at first. When
 * replicas have it, a server learns this from `WAIT`, and confirms the epoch in its next call. The
 * lease says for how long replicas may be silent. After that the epoch ends: meanwhile they may
 * have been replicas of another master, which accepted nonces that are missing here.
 *
 * ## `ARGV`
 *
 * Times are Unix seconds, and durations are seconds, if no other unit is given.
 *
 * | | |
 * |---|---|
 * | 1 | the nonce; empty for a look, which claims nothing |
 * | 2, 3, 4 | when the request was signed; from when, and until when, it is acceptable |
 * | 5 | the epoch that the request echoes, or empty |
 * | 6 | a new random name, used if this call begins an epoch |
 * | 7 | the highest tick that the server has received |
 * | 8, 9, 10 | the time by the server's clock; the longest time from sending to running; the slack
 * |
 * | 11 | the owner; empty for a presigned URL |
 * | 12 | how long until the owner has room again, or 0 if it has room |
 * | 13 | the audience |
 * | 14, 15 | the widest window and `ahead` that the server knows of the audience, in milliseconds |
 *
 * And only if claims wait for replicas:
 *
 * | | |
 * |---|---|
 * | 16 | the lease |
 * | 17, 18 | the epoch that the server knows; the last tick of it that replicas acknowledged |
 * | 19 | `1` if the server confirms that epoch |
 *
 * ## The reply
 *
 * `{outcome, epoch, wait, tick, replicas, window, ahead, why}`. `wait` is in seconds, except for
 * clocks. `replicas` is how many Redis has, if the call is a look, else 0. `why` is the letter, if
 * this call began the epoch or is a look. The outcomes:
 *
 * - `apart`: the clocks of Redis and of the server differ by more than the slack; `set-back`: the
 *   clock of Redis is behind the tick. A wrong clock would make the script forget nonces that are
 *   still needed, so nothing is written. `wait` is the difference in milliseconds.
 * - `replica`: this Redis is a replica, which may lack claims of its master. `hidden`: INFO does
 *   not show the incarnation.
 * - `pending`: the epoch is not confirmed yet.
 * - `alive`: the answer to a look.
 * - `stale`: the request is too old, so its nonce may be forgotten.
 * - `early`: the request is dated further ahead than its verifier accepts.
 * - `replayed`: the nonce is there, so the request is refused as used before.
 * - `uncertain`: the request is below the floor and does not echo the epoch, or it echoes another
 *   epoch. A request that is signed after `wait` is above the floor.
 * - `exhausted`: the owner has no room, or the request is below the owner's floor.
 * - `claimed`: the nonce was not there, and is now. Only then is the request accepted.
 */
export const CLAIM_SCRIPT = `
-- Above all times of nonces. Redis and Lua keep whole numbers exactly up to 9e15.
local STATE, ACKED, LIMITS, LETTERS = 4e15, 3e15, 3e15, 3e15
-- At most 1,000 nonces each 50 ms, which is 20,000 a second. One Redis cannot claim as many, and
-- removing so few takes too little time to delay other calls.
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
-- This check comes before any write: with a wrong clock we would remove nonces that are still
-- needed.
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
-- The clock of Redis was ahead before, and was set back by more than the slack. Nonces were removed
-- then whose requests would now look acceptable again.
if tick > time + slack then return {'set-back', '', (time - tick) / 1000, 0} end

local info = redis.call('INFO', 'replication')
if string.find(info, 'role:slave', 1, true) then return {'replica', '', 0, 0} end
local incarnation = of
-- To find the known incarnation as plain text is quick. A pattern takes as long as the rest of the
-- script.
if not of or not string.find(info, 'master_replid:' .. of .. '\\r', 1, true) then
  incarnation = string.match(info, 'master_replid:(%w+)')
end
if not (incarnation and string.find(info, 'role:master', 1, true)) then return {'hidden', '', 0, 0} end

-- The tick of this call. It never goes back, so births and expiry go by it. What compares with the
-- clocks of servers goes by the time.
local now = math.max(time, tick + 1, seen + 1)
local lost = of ~= incarnation or seen > tick
-- If no replica has acknowledged a tick for as long as the lease, they may have followed another
-- master.
local lapsed = false
if lease > 0 and not lost then
  local acked = (redis.call('ZSCORE', key, 'acked') or ACKED) - ACKED
  if known == epoch then acked = math.max(acked, ARGV[18] + 0) end
  if acked > 0 then redis.call('ZADD', key, 'GT', ACKED + acked, 'acked') end
  lapsed = birth ~= 'pending' and not (time - acked <= lease)
end
-- The larger of the limits in the set and those of the server. 0 in the set means that the audience
-- has not claimed yet.
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
-- A pending epoch is born when replicas have it, or if claims no longer wait for replicas.
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
  -- The state is written here, not with the nonce: the last ZADD tells how many members are new, and
  -- that must be the nonce only.
  redis.call('ZADD', key, STATE + now, state)
end

if nonce == '' and not why then
  local letter = redis.call('ZSCORE', key, 'why:' .. epoch)
  why = letter and string.char(letter - LETTERS) or nil
end
-- Stores the tick. So WAIT has a write to wait for, even after a look or a refusal.
local function answer(outcome, wait)
  redis.call('ZADD', key, STATE + now, state)
  return {outcome, epoch, wait or 0, now, 0, window, ahead, why}
end
if birth == 'pending' then return answer('pending') end
-- Removes nonces that are too old even for a server whose clock is slow.
if math.floor(now / CLEANED_EVERY) ~= math.floor(tick / CLEANED_EVERY) then
  local expired = redis.call('ZCOUNT', key, '-inf', string.format('(%.0f', now - slack))
  if expired > 0 then redis.call('ZREMRANGEBYRANK', key, 0, math.min(expired, MOST_CLEANED) - 1) end
end
if nonce == '' then
  local alive = answer('alive')
  -- Redis also lists a client that copies the data for a backup. It has port 0, so it is subtracted.
  local _, copying = string.gsub(info, ',port=0,', '')
  alive[5] = tonumber(string.match(info, 'connected_slaves:(%d+)') or 0) - copying
  return alive
end
if not (signed and from and till and now <= till + slack) then return answer('stale') end
if not (from <= time + slack) then return answer('early') end
-- Other verifiers may accept the request earlier or later than this one: the widest limits count.
if ahead > 0 then from = math.min(from, signed - ahead * 1000) end
if owner ~= '' then till = math.max(till, signed + window * 1000) end

-- How many seconds the client must wait so that a newly signed request is dated after the limit.
-- Requests are dated in whole seconds.
local function secondsTo(limit)
  local first = (math.floor(limit / 1000000) + 1) * 1000000
  return math.max(1, math.ceil((first - time) / 1000000))
end

-- The floor is two slacks after the birth. One is for a server whose clock is ahead, which may have
-- accepted the request before the birth. The other is for the clock of Redis, which may have been
-- set back by as much since.
local certain = birth + 2 * slack
if echoed ~= epoch and (echoed ~= '' or not (from > certain)) then
  if redis.call('ZSCORE', key, nonce) then return answer('replayed') end
  return answer('uncertain', secondsTo(certain + signed - from))
end

-- The floor of the owner. If a request is refused because there is no room, the client signs a new
-- one. The refused copy must stay refused, or the request would run twice. A presigned URL is not
-- signed again, so it needs no such floor.
local floor = owner ~= '' and (redis.call('ZSCORE', key, 'floor:' .. owner) or 0) + 0 or 0
if full > 0 or not (till > floor) then
  if redis.call('ZSCORE', key, nonce) then return answer('replayed') end
  if full > 0 and owner ~= '' then
    floor = math.max(floor, till)
    redis.call('ZADD', key, string.format('%.0f', floor), 'floor:' .. owner)
  end
  return answer('exhausted', math.max(full, secondsTo(floor - till + signed)))
end

-- GT only raises scores: a nonce that comes again may be kept for longer, never for a shorter time.
local added = redis.call('ZADD', key, 'GT', STATE + now, state, till, nonce)
return {added == 1 and 'claimed' or 'replayed', epoch, 0, now, 0, window, ahead, why}
`;
