// Posts over kept connections: none is sent twice, and none over a connection that the receiver
// closed.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import {
  type CallbackSenderOptions,
  createCallbackSender,
  type DeliveryReport,
} from '@countersign/server/callbacks';
import { describe, expect, it, onTestFinished } from 'vitest';
import { NOW } from '../../../../../test/support/now.ts';
import { LOOPBACK, SECRET } from './sender-support.ts';

interface Connection {
  readonly socket: Socket;
  /** Each request as it arrived, head and body. */
  readonly posts: string[];
}

/** A receiver that answers 204 if not told otherwise, and gives access to its connections. */
async function startReceiver({
  fields = '',
  onPost = (socket: Socket, answer: string) => void socket.write(answer),
} = {}) {
  const connections: Connection[] = [];
  const server = createServer((socket) => {
    const connection: Connection = { socket, posts: [] };
    connections.push(connection);
    socket.on('error', () => undefined);
    // A request of these tests is one chunk.
    socket.on('data', (data) => {
      connection.posts.push(data.toString('latin1'));
      onPost(socket, `HTTP/1.1 204 No Content\r\n${fields}\r\n`);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const { socket } of connections) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, connections };
}

/** A sender, and a function that sends an event and waits until an attempt was made. */
function startSender(url: string, options: Partial<CallbackSenderOptions> = {}) {
  let settle: (report: DeliveryReport) => void = () => undefined;
  const record = (report: DeliveryReport) => settle(report);
  const sender = createCallbackSender({
    endpoints: (id) => ({ id, url, secrets: [SECRET] }),
    ...LOOPBACK,
    onDelivered: record,
    onFailed: record,
    ...options,
  });
  onTestFinished(() => sender.close());
  const settled = () =>
    new Promise<DeliveryReport>((resolve) => {
      settle = resolve;
    });
  return {
    sender,
    settled,
    async send(id: string): Promise<DeliveryReport> {
      const report = settled();
      await sender.send('alice', { id, body: '{}' });
      return report;
    },
  };
}

const field = (post: string, name: string) =>
  new RegExp(`^${name}: (.*)\\r$`, 'im').exec(post)?.[1];
const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn++) await new Promise(setImmediate);
};

describe('an attempt', () => {
  it('is made once: if a receiver acts and dies, the next attempt is signed again and is in the log', async () => {
    const { url, connections } = await startReceiver({
      onPost: (socket, answer) => {
        if (connections.length === 1 && connections[0]?.posts.length === 2)
          socket.resetAndDestroy();
        else socket.write(answer);
      },
    });
    // The clock advances, so the next attempt becomes due, but stays within one second.
    let hundredths = 0;
    const clock = () => NOW + Math.min(hundredths++, 99) / 100;
    const { sender, send } = startSender(url, { schedule: [0.01], clock });
    await send('msg_1');
    const failed = await send('msg_2');
    expect([failed.attempt?.status, failed.attempt?.error]).toEqual([
      undefined,
      expect.stringMatching(/ECONNRESET|socket hang up/),
    ]);
    while ((await sender.find(failed.id))?.state !== 'delivered') await turns(1);
    const posts = connections.map((connection) => connection.posts);
    expect(posts.map(({ length }) => length)).toEqual([2, 1]);
    const [first, second] = [posts[0]?.[1], posts[1]?.[0]] as [string, string];
    for (const post of [first, second]) expect(field(post, 'webhook-id')).toBe('msg_2');
    // By the sender's clock it is the same second, which is never signed twice.
    expect(field(first, 'webhook-timestamp')).toBe(`${NOW}`);
    expect(field(second, 'webhook-timestamp')).toBe(`${NOW + 1}`);
    expect(field(first, 'webhook-signature')).not.toBe(field(second, 'webhook-signature'));
    const attempts = (await sender.find(failed.id))?.attempts ?? [];
    expect(attempts.map(({ status, signedAt }) => [status, signedAt])).toEqual([
      [undefined, NOW],
      [204, NOW + 1],
    ]);
  });

  it('signs a different time in each attempt', async () => {
    const { url, connections } = await startReceiver({ fields: 'connection: close\r\n' });
    const { sender, send, settled } = startSender(url, { clock: () => NOW });
    const { id } = await send('msg_1');
    while ((await sender.find(id))?.state !== 'delivered') await turns(1);
    for (let time = 1; time <= 3; time++) {
      const delivered = settled();
      await sender.redeliver(id);
      await delivered;
      while ((await sender.find(id))?.attempts.length !== time + 1) await turns(1);
    }
    const times = connections.map(({ posts }) => field(posts[0] as string, 'webhook-timestamp'));
    expect(times).toEqual([0, 1, 2, 3].map((later) => `${NOW + later}`));
  });

  it('does not fail if the receiver closed the connection while it was idle', async () => {
    const { url, connections } = await startReceiver();
    const { send } = startSender(url);
    expect((await send('msg_1')).attempt?.status).toBe(204);
    await turns(5);
    const [{ socket }] = connections as [Connection];
    socket.end();
    await once(socket, 'finish');
    // The receiver has closed the connection, and the sender has not read that yet.
    const report = await send('msg_2');
    expect(report.attempt).toMatchObject({ status: 204 });
    expect(connections.map(({ posts }) => posts.length)).toEqual([1, 1]);
  });

  it('uses a kept connection again', async () => {
    const { url, connections } = await startReceiver();
    const { send } = startSender(url);
    await send('msg_1');
    await turns(5);
    await send('msg_2');
    expect(connections.map(({ posts }) => posts.length)).toEqual([2]);
  });

  it.each(['timeout=0', 'max=100, timeout=0'])(
    'keeps no connection that the receiver does not keep: %s',
    async (hint) => {
      const { url, connections } = await startReceiver({ fields: `keep-alive: ${hint}\r\n` });
      const { send } = startSender(url);
      await send('msg_1');
      await turns(5);
      await send('msg_2');
      expect(connections.map(({ posts }) => posts.length)).toEqual([1, 1]);
    },
  );

  it.each([
    ['', 1_000],
    ['keep-alive: timeout=5\r\n', 1_000],
    ['keep-alive: max=9, timeout=1\r\n', 500],
  ])(
    'keeps an idle connection for less time than the receiver: %j',
    async (fields, milliseconds) => {
      const { url, connections } = await startReceiver({ fields });
      const { send } = startSender(url);
      await send('msg_1');
      const since = performance.now();
      const [{ socket }] = connections as [Connection];
      await once(socket, 'close');
      // Timers may be early by their resolution only. That they are late proves nothing.
      expect(performance.now() - since).toBeGreaterThan(milliseconds - 100);
      expect(connections.length).toBe(1);
    },
  );

  it('lets an answer over a kept connection take longer than the connection may be idle', async () => {
    const { url, connections } = await startReceiver({
      fields: 'keep-alive: max=9, timeout=1\r\n',
      onPost: (socket, answer) => {
        const isSecond = connections[0]?.posts.length === 2;
        setTimeout(() => socket.write(answer), isSecond ? 700 : 0);
      },
    });
    const { send } = startSender(url);
    await send('msg_1');
    await turns(5);
    expect((await send('msg_2')).attempt?.status).toBe(204);
    expect(connections.map(({ posts }) => posts.length)).toEqual([2]);
  });
});
