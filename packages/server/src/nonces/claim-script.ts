/**
 * Decides one claim, in Redis, at once.
 *
 * `KEYS[1]` is a partition: a sorted set of nonces, each scored by the second until which its request is acceptable, and of
 * one member that names the set's epoch and birth, scored infinite. Being in one key they are lost together. Nonces are removed
 * by score and not by expiry: `SET … PXAT` in the past answers OK and remembers nothing.
 *
 * `ARGV`: name of the nonce, or nothing to let the partition be born; signed at; acceptable from; until; the echoed
 * epoch; the epoch to be born with; the slack between clocks; how many expired nonces one claim removes, so
 * that none has to wait for a million. Times are Unix seconds, by the clock of Redis.
 */
export const CLAIM_SCRIPT = `
local function finite(text)
  local number = tonumber(text)
  return number and number - number == 0 and number
end

local nonce, signed, from, till = ARGV[1], finite(ARGV[2]), finite(ARGV[3]), finite(ARGV[4])
local echoed, unborn, slack, most = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

local last = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
local epoch, birth
if last then epoch, birth = string.match(last, '^epoch:([^:]+):([%d.]+)$') end
if not epoch then
  redis.call('DEL', KEYS[1])
  epoch, birth = unborn, now
  redis.call('ZADD', KEYS[1], '+inf', 'epoch:' .. epoch .. ':' .. string.format('%.6f', now))
end
if nonce == '' then return {'born', epoch, 0} end

if not (signed and from and till and now <= till + slack) then return {'stale', epoch, 0} end
local expired = redis.call('ZCOUNT', KEYS[1], '-inf', '(' .. string.format('%.6f', now - slack - 1))
if expired > 0 then redis.call('ZREMRANGEBYRANK', KEYS[1], 0, math.min(expired, most) - 1) end
if redis.call('ZSCORE', KEYS[1], nonce) then return {'replayed', epoch, 0} end

local certain = birth + slack
if echoed ~= epoch and not (from > certain) then
  -- Requests are dated in whole seconds: the first that will do.
  local anew = math.floor(certain + signed - from) + 1
  return {'uncertain', epoch, math.max(1, math.ceil(anew - now))}
end
redis.call('ZADD', KEYS[1], till, nonce)
return {'claimed', epoch, 0}
`;
