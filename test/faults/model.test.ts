import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { RedisServer } from '../support/redis.ts';
import { type Limits, Model } from './model.ts';
import { attackThrough, memoryStory, redisStory } from './model-commands.ts';
import {
  MemoryWorld,
  replaceOnce,
  startDebuggableRedis,
  ThreeVerifiers,
  type World,
} from './model-worlds.ts';

const sizes: Record<string, number> = {};
const numRuns = Number(process.env['MODEL_RUNS'] ?? 200);
/** Runs are of any length; this is how long they are on average. */
const commandsPerRun = Number(process.env['MODEL_COMMANDS'] ?? 30);
const maxCommands = 2 * commandsPerRun;
/** CI runs the same every time; the nightly build runs more, and others. */
const parameters = { seed: 20_261_120 + numRuns + commandsPerRun - 230, numRuns };

vi.setConfig({ testTimeout: 60_000 + 20 * numRuns * commandsPerRun });

/** "Whatever happens, the store answers what the model says": of a kind of store, and of what happens to it. */
function holds<W extends World>(
  story: (maxCommands: number) => fc.Arbitrary<Iterable<fc.AsyncCommand<Model, W>>>,
  limits: Limits,
  open: () => W,
  close: (world: W) => Promise<void> = async () => undefined,
  outcomes = new Map<string, number>(),
) {
  return fc.asyncProperty(story(maxCommands), async (commands) => {
    const model = new Model(limits, outcomes);
    const real = open();
    let n = 0;
    for (const _ of commands) n++;
    const b = String(Math.floor(n / 5) * 5);
    sizes[b] = (sizes[b] ?? 0) + 1;
    try {
      await real.setClocks(model.now, model.offset);
      await fc.asyncModelRun(() => ({ model, real }), commands);
      for (let by = 0; by < model.verifiers; by++) await attackThrough(model, real, by);
    } finally {
      await close(real);
    }
  });
}

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

const ofRedis = (change?: (lua: string) => string, outcomes?: Map<string, number>) =>
  holds<ThreeVerifiers>(
    redisStory,
    ThreeVerifiers.limits,
    () => new ThreeVerifiers(admin, server.url, change),
    (world) => world.close(),
    outcomes,
  );

describe('MemoryNonceStore', () => {
  it('answers what the model says, whatever happens', async () => {
    const outcomes = new Map<string, number>();
    await fc.assert(
      holds(memoryStory, MemoryWorld.limits, () => new MemoryWorld(), undefined, outcomes),
      parameters,
    );
    for (const outcome of ['claimed', 'replayed', 'uncertain', 'stale', 'early'])
      expect(outcomes.get(outcome), outcome).toBeGreaterThan(numRuns / 4);
  });

  it('answers what the model says, with room for three nonces', async () => {
    const limits = { ...MemoryWorld.limits, isCapped: true };
    await fc.assert(
      holds(memoryStory, limits, () => new MemoryWorld(3)),
      parameters,
    );
  });
});

describe('RedisNonceStore', () => {
  it('answers what the model says, whatever happens', async () => {
    const outcomes = new Map<string, number>();
    await fc.assert(ofRedis(undefined, outcomes), parameters);
    console.log(outcomes, sizes);
    for (const outcome of ['claimed', 'replayed', 'uncertain', 'stale', 'early', 'rejected'])
      expect(outcomes.get(outcome), outcome).toBeGreaterThan(numRuns / 4);
  });
});

describe('mutants', () => {
  it.each([
    ['incarnation', 'of ~= incarnation or', 'not of or'],
    ['rollback', ' or seen > last', ''],
    ['floor 0', 'tonumber(birth) + 2 * slack', '0'],
    ['floor birth', 'tonumber(birth) + 2 * slack', 'tonumber(birth)'],
    ['floor slack', 'tonumber(birth) + 2 * slack', 'tonumber(birth) + slack'],
    ['other echo above floor', "(echoed ~= '' or not (from > certain))", 'not (from > certain)'],
    [
      'any echo',
      "echoed ~= epoch and (echoed ~= '' or not (from > certain))",
      "echoed == '' and not (from > certain)",
    ],
    [
      'forget 5 s early',
      "string.format('(%.0f', now - slack)",
      "string.format('(%.0f', now + 5000000)",
    ],
    ['forget 1 slack early', "string.format('(%.0f', now - slack)", "string.format('(%.0f', now)"],
    [
      'forget 0.7 slack early',
      "string.format('(%.0f', now - slack)",
      "string.format('(%.0f', now - 0.3*slack)",
    ],
    ['tick = time', 'math.max(time, last + 1, seen + 1)', 'time'],
    ['tick without seen', 'math.max(time, last + 1, seen + 1)', 'math.max(time, last + 1)'],
    ['tick without last', 'math.max(time, last + 1, seen + 1)', 'math.max(time, seen + 1)'],
    ['no apart', 'if apart then', 'if false then'],
    ['no apart of its own', 'if last > time + slack then', 'if false then'],
    ['no apart of its own, tick=time', 'if last > time + slack then', 'last=0\nif false then'],
    ['no stale', 'now <= till + slack', 'true'],
    ['stale one slack late', 'now <= till + slack', 'now <= till + 2*slack'],
    ['stale by time, not tick', 'now <= till + slack', 'time <= till + slack'],
    ['no early', 'from <= time + slack', 'true'],
    ['retry early', '+ 1) * 1000000', ') * 1000000'],
    ['remember from', "string.format('%.0f', till), nonce", "string.format('%.0f', signed), nonce"],
    [
      'always new',
      "if redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', till), nonce) == 0 then",
      "redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', till), nonce)\nif false then",
    ],
    [
      'rollback keeps birth',
      "epoch, birth = newborn, lease > 0 and 'pending' or string.format('%.0f', now)",
      "epoch, birth = newborn, birth or string.format('%.0f', now)",
    ],
    ['apart but touched', 'if apart then', "if apart then redis.call('ZADD', KEYS[1], 5, 'x')"],
    ['removes too many', 'math.min(expired, most) - 1', 'math.min(expired, most)'],
    [
      'remembers state only when new',
      "redis.call('ZADD', KEYS[1], -now, state)",
      "if lost then redis.call('ZADD', KEYS[1], -now, state) end",
    ],
  ])('%s', async (_name, from, to) => {
    const t = performance.now();
    const details = await fc.check(
      ofRedis((lua) => replaceOnce(lua, from, to)),
      { ...parameters, numRuns: Number(process.env['MUT'] ?? numRuns), endOnFailure: true },
    );
    const message = String(details.errorInstance).replace(/\n/g, ' ').slice(0, 100);
    console.log(
      'MUT',
      _name,
      details.failed,
      details.numRuns,
      Math.round(performance.now() - t),
      'ms',
      message,
    );
  });
});
