/**
 * Counts nonces of one owner, in Redis, at once, if there is room for them.
 *
 * `KEYS[1]` is a hash: how many live nonces the owner has, by the second at which some of them have all expired. It is a key of its
 * own, apart from the nonces: in a cluster the access keys of one owner have theirs in many places. To lose it costs nothing but the
 * bound.
 *
 * `ARGV`: how many nonces; until when their requests are acceptable; the most that the owner may have; the slack between clocks. The
 * answer: 0 if they are counted, otherwise the seconds until there is room.
 */
export const CHARGE_SCRIPT = `
local owner, charge, till, most, slack = KEYS[1], ARGV[1] + 0, ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0
local clock = redis.call('TIME')
local time = clock[1] * 1000000 + clock[2]
local now = time / 1000000

local held, first, latest = 0, nil, 0
local shares = redis.call('HGETALL', owner)
for i = 1, #shares, 2 do
  local ends = tonumber(shares[i])
  if ends + slack >= now then
    held = held + shares[i + 1]
    first, latest = math.min(first or ends, ends), math.max(latest, ends)
  else
    redis.call('HDEL', owner, shares[i])
  end
end
if held + charge > most then return math.max(1, math.ceil((first or now) + slack - now)) end

-- By steps of 16 s, longer ones for what lives for long: so an owner never has many.
local step = 16
while till - now > 16 * step do step = step * 2 end
local ends = (math.floor(till / step) + 1) * step
if redis.call('HINCRBY', owner, string.format('%.0f', ends), charge) == charge then
  redis.call('PEXPIREAT', owner, string.format('%.0f', (math.max(latest, ends) + 2 * slack) * 1000))
end
return 0
`;
