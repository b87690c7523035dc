/**
 * Writes a record where it is still what it was, and tells everybody: in one step, so that nobody hears of what did not happen, and
 * nothing happens of which nobody hears.
 *
 * KEYS the record; ARGV the channel, the name, the revision that is there, the new one, policy, sealed secret, until when (Unix seconds, or empty)
 */
export const UPDATE_SCRIPT = `
local key, channel = KEYS[1], ARGV[1]
local name, revision, new, policy, sealed, till = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if (redis.call('HGET', key, 'revision') or '') ~= revision then return 0 end
-- First, so that nothing is written where it may not be told.
redis.call('PUBLISH', channel, name)
if sealed == '' then
  redis.call('DEL', key)
else
  redis.call('HSET', key, 'revision', new, 'policy', policy, 'sealed', sealed)
  if till ~= '' then redis.call('EXPIREAT', key, till) end
end
return 1`;

/**
 * Notes the name of a record, and until when it is there; and forgets those of which the time is over, by the clock that ends the
 * records too.
 *
 * KEYS the names; ARGV the name, until when (Unix seconds, or +inf)
 */
export const NAME_SCRIPT = `
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1])`;

/**
 * Some names of records, at random, of which none is over.
 *
 * KEYS the names; ARGV how many
 */
export const SAMPLE_SCRIPT = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1])
return redis.call('ZRANDMEMBER', KEYS[1], ARGV[1])`;

/**
 * A time of use counts where it is the latest, and the record is still there.
 *
 * KEYS the record; ARGV Unix seconds
 */
export const USE_SCRIPT = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'used') or 0) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'used', ARGV[1])
end
return 1`;
