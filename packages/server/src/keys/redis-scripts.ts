/**
 * Writes a record where it is still what it was, and tells everybody: in one step, so that nobody hears of what did not happen, and
 * nothing happens of which nobody hears.
 *
 * Where one node has them all, the name of the record is written with it. Answers 0 if the record is not what it was, and -1 if there
 * are no names, so the store is not there.
 *
 * KEYS the record, and the names if this is to note or remove the name; ARGV the channel, the name, the revision that is there, the new one, policy, sealed secret, until when (Unix
 * seconds, or empty), and 1 if this revokes: then it is written although Redis is full
 */
export const UPDATE_SCRIPT = `
local key, names, channel = KEYS[1], KEYS[2], ARGV[1]
local name, revision, new, policy, sealed, till = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if (redis.call('HGET', key, 'revision') or '') ~= revision then return 0 end
if names and redis.call('EXISTS', names) == 0 then return -1 end
-- First, so that nothing is written where it may not be told.
redis.call('PUBLISH', channel, name)
-- A full Redis refuses commands that take memory, unless the script has written already. This one takes none, and changes nothing.
if ARGV[8] == '1' then redis.call('HDEL', key, '') end
if sealed == '' then
  redis.call('DEL', key)
  if names then redis.call('ZREM', names, name) end
else
  redis.call('HSET', key, 'revision', new, 'policy', policy, 'sealed', sealed)
  if till ~= '' then redis.call('EXPIREAT', key, till) end
  if names then
    redis.call('ZADD', names, till == '' and '+inf' or till, name)
    redis.call('ZREMRANGEBYSCORE', names, '-inf', '(' .. redis.call('TIME')[1])
  end
end
return 1`;

/** Among the names from the first day on: as long as the set of names is there, Redis has not lost it. */
export const MARKER = 'store';

/** KEYS the names; ARGV the marker */
export const CREATE_SCRIPT = `return redis.call('ZADD', KEYS[1], 'NX', '+inf', ARGV[1])`;

/**
 * Notes the name of a record, and until when it is there; and forgets those of which the time is over, by the clock that ends the
 * records too. It makes no set of names: if that is gone, the records are, too.
 *
 * KEYS the names; ARGV the name, until when (Unix seconds, or +inf), and 1 if it must be written although Redis is full
 */
export const NAME_SCRIPT = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
-- As above.
if ARGV[3] == '1' then redis.call('ZREM', KEYS[1], '') end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1])
return 1`;

/**
 * Whether a record must be there: \`named\`, \`unnamed\`, or \`none\` if there are no names at all.
 *
 * KEYS the names; ARGV the name
 */
export const NAMED_SCRIPT = `
local till = redis.call('ZSCORE', KEYS[1], ARGV[1])
if till and (till == 'inf' or tonumber(till) > tonumber(redis.call('TIME')[1])) then return 'named' end
return redis.call('EXISTS', KEYS[1]) == 1 and 'unnamed' or 'none'`;

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
