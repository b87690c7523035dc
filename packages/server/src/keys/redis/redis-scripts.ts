import { KEPT_CHANGES } from '../store-history.ts';

/**
 * A name that is always in the set of names: as long as the set exists, Redis has not lost it. Its
 * score is the number of changes.
 */
export const MARKER = 'store';

/**
 * The prefix of names in the set that are of no record: the last changes, each scored by its
 * number, and the `since` of the store.
 */
export const ABOUT_STORE = 'store/';

/**
 * Reads the number and the name of the last change. Numbers of changes are scored above all times,
 * so they are never taken for one.
 */
const STATE = `
local FIRST = 4e15
local function scoreOf(names)
  local score = redis.call('ZSCORE', names, '${MARKER}')
  if not score or score == 'inf' then return FIRST end
  return tonumber(score)
end
local function whole(number) return string.format('%.0f', number) end
local function lastChange(names)
  local score = whole(scoreOf(names))
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', names, score, score)) do
    if member ~= '${MARKER}' then return member end
  end
  return ''
end`;

/**
 * Counts a change, so that it is noticed if Redis loses it.
 *
 * `recordChange` also announces it, with the name of the change before. It is called after the
 * write: a write that is refused is no change.
 */
const CHANGES = `${STATE}
local function recordChange(names, change, channel, name)
  local before, score = lastChange(names), scoreOf(names) + 1
  redis.call('ZADD', names, whole(score), '${MARKER}', whole(score), '${ABOUT_STORE}' .. change)
  redis.call('ZREMRANGEBYSCORE', names, whole(FIRST), whole(score - ${KEPT_CHANGES}))
  local since = redis.call('ZSCORE', names, '${ABOUT_STORE}since') or 0
  local message = {before, '${ABOUT_STORE}' .. change, whole(score - FIRST), since, name}
  redis.call('PUBLISH', channel, table.concat(message, ' '))
end
local function begin(names)
  local clock = redis.call('TIME')
  local since = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local before = redis.call('ZSCORE', names, '${ABOUT_STORE}since')
  redis.call('ZADD', names, whole(math.max(since, (before or 0) + 1)), '${ABOUT_STORE}since')
end`;

/**
 * Writes a record if its revision is still the expected one, and announces the change. Both happen
 * in one step, so that no write is unannounced, and no announcement is false.
 *
 * On a single node it also writes the name of the record, and counts the change. It answers 0 if
 * the record has another revision, and -1 if there is no set of names, so the store is missing.
 *
 * KEYS: the record, and the set of names if it is on the same node. ARGV: the channel; the name;
 * the expected revision; the new revision; the policy; the sealed secret; the time until which the
 * record exists (Unix seconds, or empty); 1 if this revokes, so that it is written even if Redis is
 * full; the name of the change; 1 if the name of the record is to be recorded.
 */
export const UPDATE_SCRIPT = `${CHANGES}
local key, names, channel = KEYS[1], KEYS[2], ARGV[1]
local name, revision, new, policy, sealed, till = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if (redis.call('HGET', key, 'revision') or '') ~= revision then return 0 end
if names and redis.call('EXISTS', names) == 0 then return -1 end
-- First, so that nothing is written where it may not be told.
redis.call('PUBLISH', channel, '    ' .. name)
-- A full Redis refuses commands that take memory, unless the script has written already. This one takes none, and changes nothing.
if ARGV[8] == '1' then redis.call('HDEL', key, '') end
if sealed == '' then
  redis.call('DEL', key)
  if names then redis.call('ZREM', names, name) end
else
  redis.call('HSET', key, 'revision', new, 'policy', policy, 'sealed', sealed)
  if till ~= '' then redis.call('EXPIREAT', key, till) end
  if names and ARGV[10] == '1' then
    redis.call('ZADD', names, till == '' and '+inf' or till, name)
    redis.call('ZREMRANGEBYSCORE', names, '-inf', '(' .. redis.call('TIME')[1])
  end
end
if names then recordChange(names, ARGV[9], channel, name) end
return 1`;

/**
 * Creates the store.
 *
 * KEYS: the set of names. ARGV: the name of the change; the channel.
 */
export const CREATE_SCRIPT = `${CHANGES}
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
begin(KEYS[1])
recordChange(KEYS[1], ARGV[1], ARGV[2], '')
return 1`;

/**
 * Accepts an older copy of the store.
 *
 * KEYS: the set of names. ARGV: the name of the change; the channel.
 */
export const ACCEPT_SCRIPT = `${CHANGES}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
begin(KEYS[1])
recordChange(KEYS[1], ARGV[1], ARGV[2], '')
return 1`;

/**
 * Records the name of a record, and the time until which it exists. It removes names whose time is
 * over, by the same clock that removes the records. It never creates the set of names: if the set
 * is gone, the records are gone too.
 *
 * KEYS: the set of names. ARGV: the name; the time until which the record exists (Unix seconds, or
 * `+inf`); 1 if it must be written even if Redis is full.
 */
export const NAME_SCRIPT = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
-- As above.
if ARGV[3] == '1' then redis.call('ZREM', KEYS[1], '') end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1])
return 1`;

/**
 * Counts a change of a record on another node.
 *
 * KEYS: the set of names. ARGV: the channel; the name of the record; the name of the change.
 */
export const COUNT_SCRIPT = `${CHANGES}
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
-- As above: the change is made already.
redis.call('ZREM', KEYS[1], '')
recordChange(KEYS[1], ARGV[3], ARGV[1], ARGV[2])
return 1`;

/**
 * Answers whether a record must exist: `named`, `unnamed`, or `none` if there is no set of names.
 * Then the number of changes, the name of the last one, the `since` of the store, and 1 if the
 * store has the given change.
 *
 * KEYS: the set of names. ARGV: the name; the last change that was seen.
 */
export const LOOK_SCRIPT = `${STATE}
local names = KEYS[1]
local till = redis.call('ZSCORE', names, ARGV[1])
local state = redis.call('EXISTS', names) == 1 and 'unnamed' or 'none'
if till and (till == 'inf' or tonumber(till) > tonumber(redis.call('TIME')[1])) then state = 'named' end
local since = tonumber(redis.call('ZSCORE', names, '${ABOUT_STORE}since') or 0)
local known = ARGV[2] ~= '' and redis.call('ZSCORE', names, ARGV[2]) and 1 or 0
return {state, scoreOf(names) - FIRST, lastChange(names), since, known}`;

/**
 * Gives some names of records at random, none of which is over.
 *
 * KEYS: the set of names. ARGV: how many.
 */
export const SAMPLE_SCRIPT = `
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. redis.call('TIME')[1])
return redis.call('ZRANDMEMBER', KEYS[1], ARGV[1])`;

/**
 * Records a time of use, if it is the latest, and the record exists.
 *
 * KEYS: the record. ARGV: Unix seconds.
 */
export const USE_SCRIPT = `
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'used') or 0) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'used', ARGV[1])
end
return 1`;
