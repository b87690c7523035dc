/** How often somebody may fail to log in. Several servers share their limits with `RateLimiterRedis` of the same package. */
import { isIPv6 } from 'node:net';
import { RateLimiterMemory } from 'rate-limiter-flexible';

/** Failures, and the seconds in which they are counted. */
const OF_ADDRESS = { points: 20, duration: 60 };
const OF_ADDRESS_AND_USER = { points: 5, duration: 900 };

/**
 * Limits failures by client address, and by client address and user name. By user name alone anybody could lock anybody out; so whoever has
 * many addresses has many tries, which is what long passwords, second factors and alarms are for.
 */
export function createLoginLimits() {
  const byAddress = new RateLimiterMemory(OF_ADDRESS);
  const byBoth = new RateLimiterMemory(OF_ADDRESS_AND_USER);

  return {
    /**
     * Counts a failure, before anybody knows: tries that are made at the same time would slip through otherwise.
     *
     * @returns seconds to wait, where there were too many; or what takes the failure back
     */
    async begin(ip, user) {
      const address = addressName(ip);
      const both = `${address} ${user}`;
      try {
        // First, so that an address that tries name after name cannot fill the memory.
        await byAddress.consume(address);
        // A program that goes on with an old password must not use up the tries of all behind its router.
        await byBoth.consume(both).catch(async (limit) => {
          await byAddress.reward(address);
          throw limit;
        });
      } catch (limit) {
        if (limit instanceof Error) throw limit;
        return { retryAfter: Math.ceil(limit.msBeforeNext / 1000) };
      }
      return {
        async succeeded() {
          await Promise.all([byAddress.reward(address), byBoth.delete(both)]);
        },
      };
    },
  };
}

/** Who has one IPv6 address has 2^64 of them. */
function addressName(ip) {
  const address = ip.replace(/^::ffff:(?=\d+\.)/, '');
  if (!isIPv6(address)) return address;
  const [head, tail] = address.split('::').map((part) => part.split(':'));
  const zeros = tail === undefined ? [] : Array(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...(tail ?? [])].slice(0, 4).join(':');
}
