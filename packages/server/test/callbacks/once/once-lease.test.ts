import { MemoryOnceStore } from '@countersign/server/callbacks';
import { describe, expect, it } from 'vitest';

function storeAt(start: number) {
  const time = { now: start };
  return { time, store: new MemoryOnceStore({ clock: () => time.now }) };
}

describe('MemoryOnceStore', () => {
  it('keeps a run for its lease, and no longer', async () => {
    const { time, store } = storeAt(1_000);
    expect(await store.begin('key', 'one', 30)).toEqual({ state: 'begun' });
    time.now = 1_029.5;
    expect(await store.begin('key', 'two', 30)).toEqual({ state: 'in-progress', seconds: 0.5 });
    time.now = 1_030;
    expect(await store.begin('key', 'two', 30)).toEqual({ state: 'begun' });
    // The run before learns that it has lost the callback.
    expect(await store.goOn('key', 'one', 30)).toBe(false);
    expect(await store.goOn('key', 'two', 30)).toBe(true);
  });

  it('keeps a run that renews its lease for another whole lease', async () => {
    const { time, store } = storeAt(1_000);
    await store.begin('key', 'one', 30);
    time.now = 1_020;
    expect(await store.goOn('key', 'one', 30)).toBe(true);
    time.now = 1_049;
    expect(await store.begin('key', 'two', 30)).toEqual({ state: 'in-progress', seconds: 1 });
    time.now = 1_050;
    expect(await store.begin('key', 'two', 30)).toEqual({ state: 'begun' });
  });

  it('remembers a done callback for the given time, and no longer', async () => {
    const { time, store } = storeAt(1_000);
    await store.begin('key', 'one', 30);
    await store.finish('key', 600);
    for (time.now of [1_000, 1_030, 1_599.5])
      expect(await store.begin('key', 'two', 30)).toEqual({ state: 'done' });
    time.now = 1_600;
    expect(await store.begin('key', 'two', 30)).toEqual({ state: 'begun' });
  });

  it('releases a callback only for the run that has it', async () => {
    const { store } = storeAt(1_000);
    await store.begin('key', 'one', 30);
    await store.release('key', 'two');
    expect(await store.begin('key', 'two', 30)).toMatchObject({ state: 'in-progress' });
    await store.finish('key', 600);
    await store.release('key', 'one');
    expect(await store.begin('key', 'two', 30)).toEqual({ state: 'done' });
  });
});
