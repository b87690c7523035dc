import { createCallbackSender, MemoryCallbackQueue } from '@countersign/server/callbacks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SECRET } from './sender-support.ts';

/** Queues a delivery in a process that does not deliver, and returns its id. */
async function idOf(endpointId: string, eventId: string): Promise<string> {
  const queue = new MemoryCallbackQueue();
  const sender = createCallbackSender({
    queue: Object.assign(queue, { start: () => undefined }),
    endpoints: (id) => ({ id, url: 'https://receiver.test/', secrets: [SECRET] }),
  });
  onTestFinished(() => sender.close());
  return (await sender.send(endpointId, { id: eventId, body: '{}' })).id;
}

describe('the id of a delivery', () => {
  it('is the same for one event to one endpoint, and different for each other pair', async () => {
    const pairs: [string, string][] = [
      ['a', 'bc'],
      ['ab', 'c'],
      ['abc', 'd'],
      ['a","b', 'c'],
      ['a', 'b","c'],
      ['bc', 'a'],
      ['A', 'bc'],
    ];
    const ids = await Promise.all(pairs.map(([endpoint, event]) => idOf(endpoint, event)));
    expect(new Set(ids).size).toBe(pairs.length);
    for (const id of ids) expect(id).toMatch(/^dlv_[\w-]{32}$/);
    expect(await idOf('a', 'bc')).toBe(ids[0]);
  });
});
