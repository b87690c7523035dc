import type { NonceClaim } from '@countersign/server';
import fc from 'fast-check';
import { expect } from 'vitest';
import { type Answer, type Model, type Signing, WINDOW } from './model.ts';
import type { RedisWorld, World } from './model-worlds.ts';

type Command<W> = fc.AsyncCommand<Model, W>;

/** What may happen, in so many commands at most. */
export type Story<W> = (maxCommands: number) => fc.Arbitrary<Iterable<Command<W>>>;

/** Verifiers, requests and kept states are named by a number of any size. */
const pick = fc.nat(60);
const recent = fc.oneof(fc.nat(3), pick);

const signing = fc.record({
  accessKeyId: fc.constantFrom('CSAK0', 'CSAK1'),
  audience: fc.constantFrom('video-api', 'audio-api'),
  dated: fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: -1_000, max: 0 }) },
    // As far ahead as may be, and less.
    { weight: 3, arbitrary: fc.constant(5_000) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 5_000 }) },
    // About to be too old, and any age.
    { weight: 3, arbitrary: fc.integer({ min: -20_000, max: -16_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: -30_000, max: 0 }) },
  ),
  lifetime: fc.oneof({ weight: 4, arbitrary: fc.constant(WINDOW) }, fc.constantFrom(1, 5, 60)),
  echo: fc.oneof(
    { weight: 4, arbitrary: fc.constant('present' as const) },
    { weight: 3, arbitrary: fc.constant('none' as const) },
    fc.constantFrom('former' as const, 'strange' as const),
  ),
});

/** What can happen to any store. */
function commands<W extends World>(): fc.WeightedArbitrary<Command<W>>[] {
  const claim = fc.tuple(pick, signing).map(([by, signing]) =>
    command<W>(`claim ${show(signing)}, through ${by}`, async (model, world) => {
      const signed: Signing = { ...signing, by: by % model.verifiers };
      const claim = model.sign(signed);
      const answer = await send(model, world, signed.by, claim);
      // The client signs again at once, with the epoch that it was told: then it must be let in, if
      // it is honest.
      if (signing.echo === 'present' && answer?.outcome === 'uncertain')
        await send(model, world, signed.by, model.sign(signed));
    }),
  );

  const far = fc.tuple(pick, signing).map(([by, signing]) =>
    command<W>(`claim what is dated far ahead, through ${by}`, async (model, world) => {
      const signed: Signing = { ...signing, by: by % model.verifiers };
      const { signedAt, acceptableFrom, acceptableUntil, ...rest } = model.sign(signed);
      const answer = await send(model, world, signed.by, {
        ...rest,
        signedAt: signedAt + 60,
        acceptableFrom: acceptableFrom + 60,
        acceptableUntil: acceptableUntil + 60,
      });
      expect(['early', 'rejected']).toContain(answer?.outcome);
    }),
  );

  const patient = fc.tuple(pick, signing).map(([by, signing]) =>
    command<W>(`claim without an epoch, wait, sign again, through ${by}`, async (model, world) => {
      const right = { by: by % model.verifiers, dated: 0, lifetime: WINDOW, echo: 'none' as const };
      const signed: Signing = { ...signing, ...right };
      const answer = await send(model, world, signed.by, model.sign(signed));
      if (answer?.outcome !== 'uncertain') return;
      const { isSettled } = model;
      await passTime(model, world, answer.retryAfter * 1000);
      // The client's clock is the store's: who has one that is behind waits another time.
      const dated = model.storeTime - model.clockOf(signed.by);
      const again = await send(model, world, signed.by, model.sign({ ...signed, dated }));
      if (isSettled && model.areTogether(signed.by)) model.expectClaimed(again);
    }),
  );

  const replay = fc.tuple(pick, recent).map(([by, which]) =>
    command<W>(
      `replay ${which}, through ${by}`,
      async (model, world) => {
        await send(model, world, by % model.verifiers, chosen(model.requests, which));
      },
      hasRequests,
    ),
  );

  const attack = pick.map((by) =>
    command<W>(
      `replay all, through ${by}`,
      async (model, world) => attackThrough(model, world, by % model.verifiers),
      hasRequests,
    ),
  );

  const reuse = fc.tuple(pick, recent, signing).map(([by, which, signing]) =>
    command<W>(
      `use nonce ${which} again, ${show(signing)}, through ${by}`,
      async (model, world) => {
        const signed: Signing = { ...signing, by: by % model.verifiers };
        const original = chosen(model.requests, which);
        const { nonce, accessKeyId, audience } = original;
        const own = model.sign({ ...signed, accessKeyId, audience }, nonce);
        // Where the nonce may be forgotten, another request may have it: one signed at another
        // time, or for another epoch.
        if (model.mustRemember(signed.by, original) && model.mustRemember(signed.by, own))
          await ask(model, world, signed.by, own);
        // Of another key, or for another audience, it is another nonce.
        const others = model.sign(signed, nonce);
        if (!model.isUsed(others)) await send(model, world, signed.by, others);
      },
      hasRequests,
    ),
  );

  const advance = fc
    .oneof(
      { weight: 3, arbitrary: fc.integer({ min: 1, max: 10 }) },
      { weight: 3, arbitrary: fc.integer({ min: 10, max: 40 }) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 300 }) },
    )
    .map((tenths) =>
      command<W>(`${tenths / 10} s pass`, async (model, world) =>
        passTime(model, world, tenths * 100 + 1),
      ),
    );

  const setClock = fc
    .oneof(
      // Right; wrong by no more than clocks may be; by more, though not by more than a claim may be
      // late; by too much.
      { weight: 4, arbitrary: fc.constant(0) },
      { weight: 6, arbitrary: fc.integer({ min: -9, max: 9 }) },
      { weight: 1, arbitrary: fc.integer({ min: -15, max: -9 }) },
      { weight: 1, arbitrary: fc.integer({ min: -30, max: 110 }) },
      { weight: 1, arbitrary: fc.constantFrom(-36_000, -300, -60, 300, 36_000) },
    )
    .map((tenths) =>
      command<W>(`the store's clock is set to ${tenths / 10} s ahead`, async (model, world) =>
        setStoreClock(model, world, tenths * 100),
      ),
    );

  return [
    { weight: 12, arbitrary: claim },
    { weight: 1, arbitrary: far },
    { weight: 2, arbitrary: patient },
    { weight: 4, arbitrary: replay },
    { weight: 6, arbitrary: attack },
    { weight: 2, arbitrary: reuse },
    { weight: 6, arbitrary: advance },
    { weight: 3, arbitrary: setClock },
  ];
}

const processRestarted = fc.constant(
  command<World>(
    'the process is started again',
    async (model, world) => {
      await world.lose();
      model.fail();
    },
    // A store that has no memory has but its clock: set back by more than clocks may differ, it is
    // lost.
    (model) => model.isClockKept,
  ),
);

const lost = fc.constant(command<RedisWorld>('Redis loses its key', lose));

const promoted = fc.constant(command<RedisWorld>('another Redis takes over', promote));

const kept = fc.constant(command<RedisWorld>('what is known is kept', keep));

const restored = recent.map((which) =>
  command<RedisWorld>(
    `what was kept is back: ${which}`,
    async (model, world) => rollBack(model, world, which % model.kept),
    (model) => model.kept > 0 && !model.mayRejectAny,
  ),
);

const restoredElsewhere = recent.map((which) =>
  command<RedisWorld>(
    `what was kept is back, in another Redis: ${which}`,
    async (model, world) => {
      await world.restoreElsewhere(which % model.kept);
      model.fail();
    },
    (model) => model.kept > 0,
  ),
);

const restarted = pick.map((by) =>
  command<RedisWorld>(
    `verifier ${by} is started again`,
    async (model, world) => restart(model, world, by % model.verifiers),
    (model) => !model.isRolledBack || !model.mayRejectAny,
  ),
);

const worst = fc.constant(
  command<RedisWorld>('clocks are as far apart as can be, and Redis loses its key', loseAtWorst),
);

/** What happens to a store in the memory of a process. */
export const memoryStory = storyOf(commands<World>(), [{ weight: 2, arbitrary: processRestarted }]);

/** What happens to a Redis, and to those who claim there. */
export const redisStory = storyOf(commands<RedisWorld>(), [
  { weight: 2, arbitrary: lost },
  { weight: 1, arbitrary: promoted },
  { weight: 3, arbitrary: kept },
  { weight: 3, arbitrary: restored },
  { weight: 1, arbitrary: restoredElsewhere },
  { weight: 1, arbitrary: restarted },
  { weight: 1, arbitrary: worst },
]);

/** Stories of faults, and as many without: where nothing is ever lost, more can be forgotten. */
function storyOf<W extends World>(
  usual: readonly fc.WeightedArbitrary<Command<W>>[],
  faults: readonly fc.WeightedArbitrary<Command<W>>[],
): Story<W> {
  return (maxCommands) => {
    const constraints = { maxCommands, size: 'max' as const };
    return fc.oneof(
      fc.commands([fc.oneof(...usual, ...faults)], constraints),
      fc.commands([fc.oneof(...usual)], constraints),
    );
  };
}

async function lose(model: Model, world: RedisWorld): Promise<void> {
  await world.lose();
  model.fail();
}

/**
 * A floor that were lower by any time that clocks may differ by would let the request of this in
 * twice.
 */
async function loseAtWorst(model: Model, world: RedisWorld): Promise<void> {
  const [fast, slow] = [1, 2];
  await setStoreClock(model, world, -400);
  await lookAfter(model, world, fast);
  // To where what is dated ahead needs no epoch; and to a whole second, as requests are dated.
  await passTime(model, world, 11_000 - (model.clockOf(fast) % 1_000));
  const owner = { accessKeyId: 'CSAK0', audience: 'video-api' };
  const ahead = { by: fast, dated: 5_000, lifetime: WINDOW, echo: 'none' as const };
  await send(model, world, fast, model.sign({ ...owner, ...ahead }));
  await lose(model, world);
  await setStoreClock(model, world, -1_400);
  await restart(model, world, slow);
  await attackThrough(model, world, slow);
}

async function passTime(model: Model, world: World, milliseconds: number): Promise<void> {
  model.passTime(milliseconds);
  await world.setClocks(model.now, model.offset);
}

async function setStoreClock(model: Model, world: World, offset: number): Promise<void> {
  model.setStoreClock(offset);
  await world.setClocks(model.now, model.offset);
}

async function promote(model: Model, world: RedisWorld): Promise<void> {
  await world.promote();
  model.fail();
}

async function keep(model: Model, world: RedisWorld): Promise<void> {
  if (await world.keep()) model.kept++;
}

/**
 * In the same Redis: nothing tells it but that verifiers know of more. So each looks after the
 * store before, as it does by itself.
 */
async function rollBack(model: Model, world: RedisWorld, kept: number): Promise<void> {
  await lookAfter(model, world, 0);
  // After a loss, with the clock set back, its time may be before that of what was kept; who knew
  // of that may be gone.
  if (!(await world.isPast(kept))) return;
  for (let by = 0; by < model.verifiers; by++) await lookAfter(model, world, by);
  await world.restore(kept);
  model.fail({ isRolledBack: true });
}

async function restart(model: Model, world: RedisWorld, by: number): Promise<void> {
  // One who knows nothing must not be the first to call: time would pass beyond what the others
  // know.
  if (model.isRolledBack) await lookAfter(model, world, (by + 1) % model.verifiers);
  await world.restart(by);
  model.restart(by);
  await lookAfter(model, world, by);
}

async function lookAfter(model: Model, world: World, by: number): Promise<void> {
  const isReached = await world.lookAfter(by);
  if (!isReached) expect(model.mayReject(by), 'the clocks are together').toBe(true);
  else model.reach(by);
}

/** Replays every request that was sent, at once. */
export async function attackThrough(model: Model, world: World, by: number): Promise<void> {
  if (model.isGivenUp(by) && !model.mayReject(by)) await lookAfter(model, world, by);
  const requests = model.requests.filter((claim) => model.isSent(by, claim));
  const answers = await Promise.all(requests.map((claim) => world.claim(by, claim)));
  for (const [index, claim] of requests.entries())
    model.record(by, claim, answers[index] as Answer);
}

/** Sends a request, which from then on can be replayed, to a verifier. */
async function send(model: Model, world: World, by: number, claim: NonceClaim) {
  if (!model.requests.includes(claim)) model.requests.push(claim);
  return ask(model, world, by, claim);
}

async function ask(model: Model, world: World, by: number, claim: NonceClaim) {
  if (!model.isSent(by, claim)) return undefined;
  if (model.isGivenUp(by) && !model.mayReject(by)) await lookAfter(model, world, by);
  const before = model.mustRejectAll ? await world.contents() : undefined;
  const answer = await world.claim(by, claim);
  if (model.mustRejectAll) expect(await world.contents()).toEqual(before);
  model.record(by, claim, answer);
  return answer;
}

function command<W>(
  name: string,
  run: (model: Model, world: W) => Promise<void>,
  check: (model: Readonly<Model>) => boolean = () => true,
): Command<W> {
  return { check, run, toString: () => name };
}

function hasRequests({ requests }: Readonly<Model>): boolean {
  return requests.length > 0;
}

/** Counted from the last. */
function chosen<T>(all: readonly T[], which: number): T {
  return all[all.length - 1 - (which % all.length)] as T;
}

function show({ dated, lifetime, echo }: Omit<Signing, 'by'>): string {
  return `dated ${dated / 1000} s from now, good for ${lifetime} s, echo: ${echo}`;
}
