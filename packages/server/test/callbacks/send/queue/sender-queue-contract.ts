import type {
  CallbackQueue,
  DeliveryProgress,
  QueuedCallback,
  Verdict,
} from '@countersign/server/callbacks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { until } from '../../../../../../test/support/deadline.ts';
import { NOW } from '../../../../../../test/support/now.ts';
import { deferred } from '../sender-support.ts';

const NONE: DeliveryProgress = { attempts: [], tried: 0 };

function callback(id: string, lane?: string): QueuedCallback {
  const body = Uint8Array.of(0xff, 0x00, 0xfe);
  const rest = { contentType: 'text/plain', body, createdAt: NOW };
  return { id: `dlv_${id}`, endpointId: 'alice', eventId: id, ...rest, ...(lane && { lane }) };
}

const attempted = (tried: number): DeliveryProgress => ({
  attempts: [{ at: 1, seconds: 0.1, status: 500, response: 'no' }],
  tried,
});

const delivered: Verdict = { outcome: 'delivered', progress: attempted(1) };
const dead: Verdict = { outcome: 'dead', progress: attempted(1) };
const again = (seconds = 0): Verdict => ({
  outcome: 'again',
  at: Date.now() / 1000 + seconds,
  progress: attempted(1),
});

/** What every queue must do. */
export function callbackQueueContract(name: string, open: () => CallbackQueue): void {
  /** Hands callbacks out until the given number of verdicts was returned. */
  function take(
    queue: CallbackQueue,
    count: number,
    judge: (callback: QueuedCallback, progress: DeliveryProgress) => Verdict | Promise<Verdict>,
    concurrency = 8,
  ): { log: string[]; done: Promise<void> } {
    const log: string[] = [];
    const { promise, resolve } = deferred();
    queue.start(async (it, progress) => {
      log.push(it.eventId);
      const verdict = await judge(it, progress);
      if (log.length >= count) setImmediate(resolve);
      return verdict;
    }, concurrency);
    return { log, done: promise };
  }

  function opened(): CallbackQueue {
    const queue = open();
    onTestFinished(() => queue.close());
    return queue;
  }

  const stateOf = async (queue: CallbackQueue, id: string) =>
    (await queue.find(`dlv_${id}`))?.state;

  describe(name, () => {
    it('hands out what was added, byte for byte, and remembers the outcome', async () => {
      const queue = opened();
      await queue.add(callback('a'));
      expect(await queue.find('dlv_a')).toEqual({
        callback: { ...callback('a'), body: expect.anything() },
        progress: NONE,
        state: 'waiting',
      });
      const seen: unknown[] = [];
      const { done } = take(queue, 1, (it, progress) => {
        seen.push([...it.body], it.contentType, it.endpointId, it.createdAt, progress);
        return delivered;
      });
      await done;
      expect(seen).toEqual([[0xff, 0, 0xfe], 'text/plain', 'alice', NOW, NONE]);
      await until(async () => (await stateOf(queue, 'a')) === 'delivered', 'it is delivered');
      expect((await queue.find('dlv_a'))?.progress).toEqual(attempted(1));
      expect(await queue.find('dlv_other')).toBeUndefined();
    });

    it('keeps a callback once, also if it is added again after its delivery', async () => {
      const queue = opened();
      await Promise.all([queue.add(callback('a')), queue.add(callback('a'))]);
      const { log, done } = take(queue, 2, () => delivered);
      await until(async () => (await stateOf(queue, 'a')) === 'delivered', 'it is delivered');
      await queue.add(callback('a'));
      await queue.add(callback('b'));
      await done;
      expect(log).toEqual(['a', 'b']);
    });

    it('hands a callback out again at the time of its verdict, with the progress', async () => {
      const queue = opened();
      const times: number[] = [];
      const progresses: DeliveryProgress[] = [];
      await queue.add(callback('a'));
      const { done } = take(queue, 2, (_, progress) => {
        times.push(Date.now());
        progresses.push(progress);
        return times.length === 1 ? again(0.1) : delivered;
      });
      await done;
      // Clocks are read in whole milliseconds, so the difference may be 2 ms too small.
      expect((times[1] as number) - (times[0] as number)).toBeGreaterThanOrEqual(98);
      expect(progresses).toEqual([NONE, attempted(1)]);
    });

    it('hands out at most the given number at once', async () => {
      const queue = opened();
      for (const id of ['a', 'b', 'c', 'd', 'e']) await queue.add(callback(id));
      let [running, most] = [0, 0];
      const judge = async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running -= 1;
        return delivered;
      };
      await take(queue, 5, judge, 2).done;
      expect(most).toBe(2);
    });

    it('hands out a lane one after the other, in the order it was added, even after failures', async () => {
      const queue = opened();
      const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
      for (const id of ids) await queue.add(callback(id, 'lane'));
      let running = 0;
      const tries: Record<string, number> = {};
      const { log, done } = take(queue, 8, async ({ eventId }) => {
        running += 1;
        expect(running).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 3));
        running -= 1;
        tries[eventId] = (tries[eventId] ?? 0) + 1;
        if (eventId === 'b' && tries['b'] === 1) return again(0.03);
        if (eventId === 'c') return tries['c'] === 1 ? again() : dead;
        return delivered;
      });
      await done;
      expect(log).toEqual(['a', 'b', 'b', 'c', 'c', 'd', 'e', 'f']);
    });

    it('does not make a callback wait for the lane of another', async () => {
      const queue = opened();
      await queue.add(callback('a', 'lane'));
      await queue.add(callback('b', 'lane'));
      await queue.add(callback('c', 'other lane'));
      await queue.add(callback('d'));
      const { log, done } = take(queue, 3, ({ eventId }) =>
        eventId === 'a' ? again(3_600) : delivered,
      );
      await done;
      expect(log.toSorted()).toEqual(['a', 'c', 'd']);
      expect(await stateOf(queue, 'b')).toBe('waiting');
    });

    it('lists what waits, what was delivered and what is dead, the latest first', async () => {
      const queue = opened();
      for (const id of ['a', 'b', 'c', 'd']) await queue.add(callback(id));
      const verdicts: Record<string, Verdict> = { a: dead, b: delivered, c: again(3_600), d: dead };
      const { done } = take(queue, 4, ({ eventId }) => verdicts[eventId] as Verdict, 1);
      await done;
      await until(async () => (await stateOf(queue, 'd')) === 'dead', 'it is dead');
      const ids = async (state: 'waiting' | 'delivered' | 'dead', limit = 10) =>
        (await queue.list(state, limit)).map(({ callback: { eventId } }) => eventId);
      expect([await ids('waiting'), await ids('delivered'), await ids('dead')]).toEqual([
        ['c'],
        ['b'],
        ['d', 'a'],
      ]);
      expect(await ids('dead', 1)).toEqual(['d']);
      expect((await queue.list('dead', 1))[0]?.progress).toEqual(attempted(1));
    });

    it.each([
      ['dead', dead],
      ['delivered', delivered],
    ])('redelivers what is %s, with its earlier attempts', async (state, verdict) => {
      const queue = opened();
      await queue.add(callback('a', 'lane'));
      const progresses: DeliveryProgress[] = [];
      const { done } = take(queue, 2, (_, progress) => {
        progresses.push(progress);
        return verdict;
      });
      await until(async () => (await stateOf(queue, 'a')) === state, `it is ${state}`);
      expect(await queue.redeliver('dlv_a')).toBe(true);
      await done;
      expect(progresses).toEqual([NONE, { ...attempted(1), tried: 0 }]);
      await until(async () => (await stateOf(queue, 'a')) === state, `it is ${state}`);
    });

    it('redelivers what waits at once, and returns false for an unknown id', async () => {
      const queue = opened();
      await queue.add(callback('a'));
      let count = 0;
      const { done } = take(queue, 2, () => {
        count += 1;
        return count === 1 ? again(3_600) : delivered;
      });
      await until(async () => (await queue.find('dlv_a'))?.progress.tried === 1, 'it was tried');
      // The queue stores the progress before it puts the callback back, so wait for that.
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await queue.redeliver('dlv_a')).toBe(true);
      await done;
      expect(await queue.redeliver('dlv_other')).toBe(false);
    });

    it('waits for callbacks that are handed out when it is closed', async () => {
      const queue = open();
      await queue.add(callback('a'));
      await queue.add(callback('b'));
      const started = deferred();
      const finish = deferred();
      let finished = 0;
      queue.start(async () => {
        started.resolve();
        await finish.promise;
        finished += 1;
        return delivered;
      }, 1);
      await started.promise;
      const closed = queue.close().then(() => finished);
      setTimeout(finish.resolve, 20);
      expect(await closed).toBe(1);
    });
  });
}
