// A sender of callbacks in its own process, for tests that kill it. It uses the built package and a
// queue in Redis. It reads which events to send, writes which are queued, and delivers until it
// ends. SETTINGS (JSON) has the rest.

import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { BullmqCallbackQueue } from '../../packages/server/dist/bullmq.js';
import { createCallbackSender } from '../../packages/server/dist/callbacks.js';

const { port, urls, secret, queue, order, atOnce } = JSON.parse(process.env.SETTINGS);

process.once('disconnect', () => process.exit());
const redis = new Redis({ port, retryStrategy: () => 50 });
redis.on('error', () => undefined);
const sender = createCallbackSender({
  queue: new BullmqCallbackQueue({ redis, takeOverAfter: 1, timeout: 1, ...queue }),
  endpoints: (id) => ({ id, url: urls[Number(id)], secrets: [secret], order }),
  // The callbacks that a killed sender had are sent again. 64 are few enough for a test machine.
  concurrency: 64,
  // The schedule of the specification, a few thousand times as fast.
  schedule: Array.from({ length: 60 }, (_, index) => Math.min(0.05 * (index + 1), 0.5)),
  maxRetryAfter: 0.2,
  timeouts: { connect: 1, headers: 0.3, body: 0.3 },
  http: 'allow-plain-http',
  privateAddresses: 'allow-private-addresses',
});

process.on('message', async (events) => {
  const left = [...events];
  const send = async () => {
    for (let event = left.shift(); event !== undefined; event = left.shift()) {
      await sendOnce(event);
      process.send(event);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, send));
});
process.send('ready');

/** Sends an event until it is queued. If it may be queued already, the same id keeps it single. */
async function sendOnce(event) {
  for (;;) {
    try {
      const endpoint = String(event % urls.length);
      return await sender.send(endpoint, { id: `msg_${event}`, type: 'test.event', data: event });
    } catch {
      await sleep(50);
    }
  }
}
