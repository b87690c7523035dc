/**
 * Decides one claim, in Redis, at once.
 *
 * `KEYS[1]` is a partition: a sorted set of nonces, each scored by the second until which its request is acceptable, and of
 * one member that names the set's epoch and birth, scored infinite. Being in one key they are lost together. Nonces are removed
 * by score and not by expiry: `SET … PXAT` in the past answers OK and remembers nothing.
 *
 * `ARGV`: name of the nonce, or nothing to let the partition be born; acceptable from; until; how far ahead requests may be
 * dated; the echoed epoch; the epoch to be born with; the slack between clocks. Times are Unix seconds, by the clock of Redis.
 */
export const CLAIM_SCRIPT = `
local nonce, from, till, ahead = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local echoed, unborn, slack = ARGV[5], ARGV[6], tonumber(ARGV[7])
local now = tonumber(redis.call('TIME')[1])

local last = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
local epoch, birth
if last then epoch, birth = string.match(last, '^epoch:([^:]+):(%d+)$') end
if not epoch then
  redis.call('DEL', KEYS[1])
  epoch, birth = unborn, now
  redis.call('ZADD', KEYS[1], '+inf', 'epoch:' .. epoch .. ':' .. string.format('%.0f', now))
end
if nonce == '' then return {'born', epoch, 0} end

if not (now <= till + slack) then return {'stale', epoch, 0} end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now - slack - 1))
if redis.call('ZSCORE', KEYS[1], nonce) then return {'replayed', epoch, 0} end

local certain = tonumber(birth) + slack
if echoed ~= epoch and not (from > certain) then
  return {'uncertain', epoch, math.max(0, certain + ahead - now) + 1}
end
redis.call('ZADD', KEYS[1], till, nonce)
return {'claimed', epoch, 0}
`;
