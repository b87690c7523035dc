/**
 * Limits failed logins. Several servers can share their limits with `RateLimiterRedis` of the same
 * package.
 */
import { isIPv6 } from 'node:net';
import { RateLimiterMemory } from 'rate-limiter-flexible';

/** Allowed failures, and the seconds in which they are counted. */
const OF_ADDRESS = { points: 20, duration: 60 };
const OF_ADDRESS_AND_USER = { points: 5, duration: 900 };

/**
 * Limits failures by client address, and by client address and user name. A limit by user name
 * alone would let an attacker lock a user out. An attacker with many addresses therefore has many
 * tries: long passwords, second factors and alarms must stop that attack.
 */
export function createLoginLimits() {
  const byAddress = new RateLimiterMemory(OF_ADDRESS);
  const byBoth = new RateLimiterMemory(OF_ADDRESS_AND_USER);

  return {
    /**
     * Counts a failure before the password is checked: otherwise simultaneous tries would all pass.
     *
     * @returns the seconds to wait if there were too many failures; otherwise a function that takes
     *   the failure back
     */
    async begin(ip, user) {
      const address = addressName(ip);
      const both = `${address} ${user}`;
      try {
        // The address is checked first: one that tries many names must not fill the memory.
        await byAddress.consume(address);
        // A program that repeats an old password must not use up the tries of all users behind the
        // same router.
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

/**
 * Groups IPv6 addresses by network: a client with one address usually has all 2^64 of its network.
 */
function addressName(ip) {
  const address = ip.replace(/^::ffff:(?=\d+\.)/, '');
  if (!isIPv6(address)) return address;
  const [head, tail] = address.split('::').map((part) => part.split(':'));
  const zeros = tail === undefined ? [] : Array(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...(tail ?? [])].slice(0, 4).join(':');
}
