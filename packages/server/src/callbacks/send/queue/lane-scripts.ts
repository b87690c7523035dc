/**
 * Puts a callback at the end of its lane, once. The place is the time of Redis. If the clock was
 * set back, the place still comes after all that are in the lane.
 *
 * KEYS lane; ARGV id
 */
export const ENTER_LANE_SCRIPT = `
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local time = redis.call('TIME')
local place = time[1] * 1000000 + time[2]
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last and tonumber(last) >= place then place = tonumber(last) + 1 end
redis.call('ZADD', KEYS[1], string.format('%.0f', place), ARGV[1])
return 1`;

/**
 * Returns the first of the lane, and for how many seconds it has been there; nothing if the given
 * id is not in the lane.
 *
 * KEYS lane; ARGV id
 */
export const FIRST_OF_LANE_SCRIPT = `
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return {} end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return { first[1], math.floor(redis.call('TIME')[1] - first[2] / 1000000) }`;
