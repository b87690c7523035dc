import { Resolver } from 'node:dns/promises';

/** Finds all addresses of a host name. Give your own to use another resolver. */
export type ResolveHost = (hostname: string) => Promise<readonly string[]>;

const NO_RECORDS = new Set(['ENODATA', 'ENOTFOUND']);

/**
 * Asks DNS only. It does not use `/etc/hosts` or the search domains of this machine, because they
 * hold names of its own network. It does not use `dns.lookup` either, which has four threads for
 * the whole process: four receivers with a dead name server would block all others.
 */
export function createResolver(timeout: number, servers?: readonly string[]): ResolveHost {
  const resolver = new Resolver({ timeout: Math.ceil((timeout * 1000) / 2), tries: 2 });
  if (servers !== undefined) resolver.setServers(servers);
  return async (hostname) => {
    const answers = await Promise.allSettled([
      resolver.resolve4(hostname),
      resolver.resolve6(hostname),
    ]);
    const addresses = answers.flatMap((answer) =>
      answer.status === 'fulfilled' ? answer.value : [],
    );
    if (addresses.length > 0) return addresses;
    const failed = answers.find(
      (answer) => answer.status === 'rejected' && !NO_RECORDS.has(answer.reason?.code),
    );
    if (failed?.status === 'rejected') throw failed.reason;
    return [];
  };
}
