import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CLAIM_SCRIPT } from '../../packages/server/src/nonces/redis/claim-script.ts';
import type { RedisServer } from '../support/redis.ts';
import { type Limits, Model } from './model.ts';
import { attackThrough, memoryStory, redisStory, type Story } from './model-commands.ts';
import {
  MemoryWorld,
  replaceOnce,
  startDebuggableRedis,
  ThreeVerifiers,
  type World,
} from './model-worlds.ts';

const numRuns = Number(process.env['MODEL_RUNS'] ?? 200);
/** On average: stories are of any length. */
const commandsPerRun = Number(process.env['MODEL_COMMANDS'] ?? 30);
/** CI runs the same every time; the nightly build runs more, and others. */
const parameters = { seed: 20_261_120 + numRuns + commandsPerRun, numRuns };

vi.setConfig({ testTimeout: 60_000 + 10 * numRuns * commandsPerRun });

/** "Whatever happens, the store answers what the model says." */
function holds<W extends World>(
  story: Story<W>,
  limits: Limits,
  open: () => W,
  counts: Map<string, number> = new Map(),
) {
  return fc.asyncProperty(story(2 * commandsPerRun), async (commands) => {
    const model = new Model(limits, counts);
    const real = open();
    try {
      await real.setClocks(model.now, model.offset);
      await fc.asyncModelRun(() => ({ model, real }), commands);
      for (let by = 0; by < model.verifiers; by++) await attackThrough(model, real, by);
    } finally {
      await real.close();
    }
  });
}

/** Where nothing was asked that matters, nothing was tested. */
function expectAll(counts: Map<string, number>, what: string[]): void {
  for (const each of [...what, 'honest', 'known'])
    expect(counts.get(each), each).toBeGreaterThan(numRuns / 4);
}

const OUTCOMES = ['claimed', 'replayed', 'uncertain', 'stale', 'early'];

describe('MemoryNonceStore', () => {
  it('answers what the model says, whatever happens', async () => {
    const counts = new Map<string, number>();
    await fc.assert(
      holds(memoryStory, MemoryWorld.limits, () => new MemoryWorld(), counts),
      parameters,
    );
    expectAll(counts, OUTCOMES);
  });

  it('answers what the model says, whatever happens, with room for three nonces', async () => {
    const limits = { ...MemoryWorld.limits, isCapped: true };
    await fc.assert(
      holds(memoryStory, limits, () => new MemoryWorld(3)),
      parameters,
    );
  });
});

describe('RedisNonceStore', () => {
  let server: RedisServer;
  let admin: Redis;
  beforeAll(async () => {
    server = await startDebuggableRedis();
    admin = new Redis(server.url);
  });
  afterAll(async () => {
    admin?.disconnect();
    await server?.stop();
  });

  const holdsWith = (script: string, counts?: Map<string, number>) =>
    holds(
      redisStory,
      ThreeVerifiers.limits,
      () => new ThreeVerifiers(admin, server.url, script),
      counts,
    );

  it('answers what the model says, whatever happens', async () => {
    const counts = new Map<string, number>();
    await fc.assert(holdsWith(CLAIM_SCRIPT, counts), parameters);
    expectAll(counts, [...OUTCOMES, 'rejected']);
  });

  it.each([
    ['does not tell one Redis from another', 'of ~= incarnation or', 'not of or'],
    ['does not notice that it was rolled back', ' or seen > tick', ''],
    ['has no floor', 'birth + 2 * slack', '0'],
    ['has its floor too low', 'birth + 2 * slack', 'birth + 1.5 * slack'],
    ['keeps its birth though it was lost', 'birth = lease > 0', 'birth = birth or lease > 0'],
    ['takes another echo for none', "echoed ~= '' or not (from", 'not (from'],
    ['takes every echo for its own', 'echoed ~= epoch and (', "echoed == '' and ("],
    ['is never certain', "(echoed ~= '' or", '(true or'],
    ['says that one may come back too early', '+ 1) * 1000000', ') * 1000000'],
    ['goes back in time', 'math.max(time, tick + 1, seen + 1)', 'time'],
    ['forgets too early', "'(%.0f', now - slack)", "'(%.0f', now + 2 * slack)"],
    ['forgets one more', 'math.min(expired, MOST_CLEANED) - 1', 'math.min(expired, MOST_CLEANED)'],
    ['remembers nothing', 'added == 1', 'true'],
    ['claims what is too old', 'now <= till + slack', 'true'],
    ['claims what is too early', 'from <= time + slack', 'true'],
    ['does not mind clocks that are apart', 'time >= sent - slack and', 'true or'],
    ['forgets all where clocks are apart', '(time - sent) / 1000, 0', "0, redis.call('DEL', key)"],
  ])('would fail where its script %s', async (_, from, to) => {
    const broken = holdsWith(replaceOnce(CLAIM_SCRIPT, from, to));
    const more = { numRuns: Math.max(numRuns, 1_000), endOnFailure: true };
    const { failed, errorInstance } = await fc.check(broken, { ...parameters, ...more });
    expect(failed).toBe(true);
    // By what was promised, and not by a script that does not run.
    expect(errorInstance).toMatchObject({ name: 'AssertionError' });
  });
});
