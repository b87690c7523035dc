/** How often somebody may fail to log in. Several servers share their limits with `RateLimiterRedis` of the same package. */
import { isIPv6 } from 'node:net';
import { RateLimiterMemory } from 'rate-limiter-flexible';

/** Failures, and the seconds in which they are counted. */
const OF_SOURCE = { points: 20, duration: 60 };
const OF_SOURCE_AND_USER = { points: 5, duration: 900 };

/**
 * Limits failures by source, and by source and user name. By user name alone anybody could lock anybody out; so whoever has
 * many sources has many tries, which is what long passwords, second factors and alarms are for.
 */
export function createLoginLimits() {
  const bySource = new RateLimiterMemory(OF_SOURCE);
  const byBoth = new RateLimiterMemory(OF_SOURCE_AND_USER);

  return {
    /**
     * Counts a failure, before anybody knows: tries that are made at the same time would slip through otherwise.
     *
     * @returns seconds to wait, where there were too many; or what takes the failure back
     */
    async begin(ip, user) {
      const source = sourceOf(ip);
      const both = `${source} ${user}`;
      try {
        // First, so that a source that tries name after name cannot fill the memory.
        await bySource.consume(source);
        // A program that goes on with an old password must not use up the tries of all behind its router.
        await byBoth.consume(both).catch(async (limit) => {
          await bySource.reward(source);
          throw limit;
        });
      } catch (limit) {
        if (limit instanceof Error) throw limit;
        return { retryAfter: Math.ceil(limit.msBeforeNext / 1000) };
      }
      return {
        async succeeded() {
          await Promise.all([bySource.reward(source), byBoth.delete(both)]);
        },
      };
    },
  };
}

/** Who has one IPv6 address has 2^64 of them. */
function sourceOf(ip) {
  const address = ip.replace(/^::ffff:(?=\d+\.)/, '');
  if (!isIPv6(address)) return address;
  const [head, tail] = address.split('::').map((part) => part.split(':'));
  const zeros = tail === undefined ? [] : Array(8 - head.length - tail.length).fill('0');
  return [...head, ...zeros, ...(tail ?? [])].slice(0, 4).join(':');
}
