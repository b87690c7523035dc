import { quote } from '@countersign/shared';
import type { Cluster, Redis } from 'ioredis';
import { harmless, isOutside } from './redis-commands.ts';

/** What the user of a store needs. */
export interface RedisNeeds {
  /** The prefix of all names. No key has exactly this name. Example: `countersign:nonces:`. */
  readonly prefix: string;
  readonly channel?: string | undefined;
  readonly commands: readonly string[];
}

/** What the user of a store may not do. */
export interface Refusals {
  readonly user: string;
  readonly commands: ReadonlySet<string>;
  /**
   * What to add to the rule of the user, as `ACL SETUSER` takes it. Empty if nothing is missing.
   */
  readonly rule: readonly string[];
}

/** How scripts are run: any script, or only scripts that read. */
export type Runner = 'EVAL' | 'EVAL_RO';

/**
 * Tries commands. Redis 7 and Valkey can tell whether a command is allowed, so allowed commands are
 * not run. A refused command is run, to get the reason. It answers with the reason for each refused
 * command.
 *
 * ARGV: the commands with their arguments, in JSON
 */
export const TRY_SCRIPT = `
local refused = {}
for index, command in ipairs(cjson.decode(ARGV[1])) do
  local asked, may = false, false
  if redis.acl_check_cmd then asked, may = pcall(redis.acl_check_cmd, unpack(command)) end
  if not may or not asked then
    local reply = redis.pcall(unpack(command))
    if type(reply) == 'table' and reply.err then table.insert(refused, {index, reply.err}) end
  end
end
return refused`;

/**
 * The messages of Redis 6.2 to 7.0 in scripts; of later ones and of Valkey; and outside of scripts.
 */
const REFUSAL = /The user executing the script can't|NOPERM|ACL failure/;

/** Whether the user of a connection was not allowed to do something. */
export function isRefusal(error: unknown): boolean {
  return error instanceof Error && REFUSAL.test(error.message);
}

/**
 * Finds out what the user of a store may not do, on each master: each node has users of its own.
 *
 * @param runner how scripts are run
 * @param script another script, for tests
 * @throws Error if no master answers
 */
export async function findRefusals(
  redis: Redis | Cluster,
  needs: RedisNeeds,
  runner: Runner = 'EVAL',
  script = TRY_SCRIPT,
): Promise<Refusals> {
  const masters = redis.isCluster ? (redis as Cluster).nodes('master') : [redis as Redis];
  const { keyPrefix = '' } = redis.options as { keyPrefix?: string };
  const prefix = `${keyPrefix}${needs.prefix}`;
  const results = await Promise.allSettled(
    masters.map((master) => tryAll(master, { ...needs, prefix }, runner, script)),
  );
  const answers = results.flatMap((it) => (it.status === 'fulfilled' ? [it.value] : []));
  if (answers.length === 0)
    throw (
      (results[0] as PromiseRejectedResult | undefined)?.reason ?? new Error('There is no master')
    );
  const { channel, commands } = needs;
  const pattern = patternOf(prefix, commands.includes('EVAL_RO'));
  const rule = new Set<string>();
  for (const [command, why] of answers.flatMap((it) => [...it])) {
    for (const lack of lacksOf(command, why, { pattern, channel })) rule.add(lack);
  }
  return {
    user: userOf(redis),
    commands: new Set(answers.flatMap((it) => [...it.keys()])),
    rule: [...rule].sort(patternsFirst),
  };
}

/** The user of a connection. */
export function userOf(redis: Redis | Cluster): string {
  const { username } = redis.isCluster
    ? ((redis as Cluster).options.redisOptions ?? {})
    : (redis as Redis).options;
  return username ?? 'default';
}

/**
 * What to add to the rule of a user.
 *
 * @param command that was refused
 * @param why the message of Redis; empty if the command could not be tried
 */
export function lacksOf(
  command: string,
  why: string,
  { pattern = '', channel = '' }: { pattern?: string; channel?: string | undefined },
): string[] {
  const own = `+${command.toLowerCase()}`;
  if (why === '') return [pattern, own];
  // The message may also contain the name of the user, so it is matched by its whole phrase.
  if (/to run the|run this command/.test(why)) return [own];
  return [/\bchannels?\b/.test(why) ? `&${channel}` : pattern];
}

function patternOf(prefix: string, isReadOnly: boolean): string {
  return `${isReadOnly ? '%R' : ''}~${prefix.replaceAll(/[\\*?[\]]/g, '\\$&')}*`;
}

/**
 * What the user of a store lacks and how to add it, as a sentence; `undefined` if nothing is
 * missing.
 */
export async function refusalOf(
  redis: Redis | Cluster,
  needs: RedisNeeds,
): Promise<string | undefined> {
  const refusals = await findRefusals(redis, needs);
  return refusals.rule.length === 0 ? undefined : formatRefusals(refusals);
}

/** The sentence that says what is missing, and how to add it. */
export function formatRefusals({ user, rule }: Pick<Refusals, 'user' | 'rule'>): string {
  return `the rule of its user ${quote(user)} lacks ${rule.join(' ')}: run ACL SETUSER ${user} ${rule.join(' ')}`;
}

/** @returns the reason for each command that is refused; empty if it could not be tried */
async function tryAll(
  redis: Redis,
  { prefix, channel = '', commands }: RedisNeeds,
  runner: Runner,
  script: string,
): Promise<ReadonlyMap<string, string>> {
  const { db = 0, keyPrefix = '' } = redis.options;
  const key = `${prefix}self-test`;
  const inside = commands
    .filter((command) => !isOutside(command))
    .map((command) => harmless(command, key, channel));
  // ioredis adds its own prefix to these.
  const outside = commands
    .filter(isOutside)
    .map((command) => harmless(command, key.slice((keyPrefix ?? '').length), channel));
  if (db > 0) outside.push(['SELECT', `${db}`]);
  const [answer, ...answers] = await Promise.all([
    ask(redis, [runner, script, '0', JSON.stringify(inside)]),
    ...outside.map((form) => ask(redis, form)),
  ]);
  const refused = new Map<string, string>();
  outside.forEach(([command = ''], index) => {
    const refusal = answers[index];
    if (isRefusal(refusal)) refused.set(command, (refusal as Error).message);
  });
  if (isRefusal(answer)) {
    for (const [command = ''] of inside) refused.set(command, '');
    return refused;
  }
  if (answer instanceof Error) throw answer;
  for (const [command, why] of readRefusals(answer, inside)) {
    if (REFUSAL.test(why)) refused.set(command, why);
  }
  return refused;
}

/** @throws TypeError if the reply is not one of the script */
function readRefusals(answer: unknown, tried: readonly string[][]): [string, string][] {
  if (!Array.isArray(answer))
    throw new TypeError('Cannot read the reply of Redis: expected the refused commands');
  return answer.map((entry: unknown) => {
    const [index, why] = Array.isArray(entry) ? (entry as unknown[]) : [];
    const command = tried[Number(index) - 1]?.[0];
    if (command === undefined || typeof why !== 'string')
      throw new TypeError('Cannot read the reply of Redis: expected a refused command');
    return [command, why];
  });
}

/** The reply, or the error that is the reply. */
async function ask(redis: Redis, [command = '', ...args]: readonly string[]): Promise<unknown> {
  try {
    return await redis.call(command, ...args);
  } catch (error) {
    if ((error as Error).name !== 'ReplyError') throw error;
    return error;
  }
}

/** The usual order in a rule: patterns of keys first, then commands. */
function patternsFirst(one: string, other: string): number {
  return Number(one.startsWith('+')) - Number(other.startsWith('+'));
}
