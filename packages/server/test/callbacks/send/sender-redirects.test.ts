import {
  createCallbackSender,
  type Delivery,
  type DeliveryReport,
} from '@countersign/server/callbacks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { LOOPBACK, SECRET, startReceiver } from './sender-support.ts';

/** Returns what the log and the hook say about an answer. */
async function attemptAt(status: number, location?: string) {
  const { url, received } = await startReceiver((_, res) =>
    res.writeHead(status, location === undefined ? {} : { location }).end(),
  );
  let record: (report: DeliveryReport) => void = () => undefined;
  const failed = new Promise<DeliveryReport>((resolve) => {
    record = resolve;
  });
  const sender = createCallbackSender({
    endpoints: (id) => ({ id, url, secrets: [SECRET] }),
    ...LOOPBACK,
    schedule: [3_600],
    onFailed: record,
  });
  onTestFinished(() => sender.close());
  const { id } = await sender.send('alice', { body: '{}' });
  const { attempt } = await failed;
  let delivery: Delivery | undefined;
  while (delivery?.attempts.length !== 1) delivery = await sender.find(id);
  return { attempt, logged: delivery.attempts[0], received };
}

describe('a receiver that redirects', () => {
  it.each([301, 302, 303, 307, 308])(
    'is reported with its target, in the log and to onFailed: %i',
    async (status) => {
      const { attempt, logged, received } = await attemptAt(status, 'https://www.shop.test/hook/');
      expect(logged).toMatchObject({
        status,
        location: 'https://www.shop.test/hook/',
        error:
          'It redirects to "https://www.shop.test/hook/", which is not followed: register that URL',
      });
      expect(attempt).toEqual(logged);
      expect(received.length).toBe(1);
    },
  );

  it('is reported if it names no target', async () => {
    const { attempt } = await attemptAt(302);
    expect(attempt).toMatchObject({
      status: 302,
      error: 'It redirects, which is not followed, and does not say where to',
    });
    expect(attempt).not.toHaveProperty('location');
  });

  it('cannot fill the log, or forge a line in it', async () => {
    const { attempt } = await attemptAt(
      308,
      `https://a.test/\u0085\u009b2J\u00ad${'x'.repeat(5_000)}`,
    );
    expect(attempt?.location).toHaveLength(2_048);
    expect(attempt?.location).toMatch(/^https:\/\/a\.test\/\ufffd\ufffd2J\ufffdx+$/);
    expect(attempt?.error?.length).toBeLessThan(300);
    expect(attempt?.error).toMatch(/, which is not followed: register that URL$/);
  });

  it.each([304, 500])('has one of five statuses: %i is not one', async (status) => {
    const { attempt } = await attemptAt(status, 'https://www.shop.test/hook/');
    expect(attempt?.status).toBe(status);
    expect(attempt).not.toHaveProperty('location');
    expect(attempt).not.toHaveProperty('error');
  });
});
