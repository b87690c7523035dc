/**
 * The script that counts nonces of one owner, if the owner has room for them. Redis runs it as one
 * step.
 *
 * `KEYS[1]` is a hash of one owner. A field is a second; its value is the number of nonces that
 * have all expired by then. In a cluster the nonces of one owner lie in many places, so the counts
 * have a key of their own. If it is lost, only the bound is lost.
 *
 * `ARGV`: how many nonces; the Unix seconds until which their requests are acceptable; how many the
 * owner may have; the slack between clocks, in seconds. The answer is 0 if the nonces are counted,
 * otherwise the seconds until there is room.
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

-- Steps of 16 s, and longer ones for nonces that live for long. So an owner never has many fields.
local step = 16
while till - now > 16 * step do step = step * 2 end
local ends = (math.floor(till / step) + 1) * step
if redis.call('HINCRBY', owner, string.format('%.0f', ends), charge) == charge then
  redis.call('PEXPIREAT', owner, string.format('%.0f', (math.max(latest, ends) + 2 * slack) * 1000))
end
return 0
`;
