import { type ChildProcess, type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface, type Interface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  newSecret,
  signCallback,
} from '../../packages/server/test/callbacks/receive/callbacks-sender.ts';

describe('node examples/callbacks/story.mjs', () => {
  let story: SpawnSyncReturns<string>;
  beforeAll(() => {
    story = spawnSync(process.execPath, ['examples/callbacks/story.mjs'], { encoding: 'utf8' });
  });

  it('tells the story, and ends well', () => {
    expect(story.stderr).toBe('');
    expect(story.status).toBe(0);
    const told = story.stdout.replace(/127\.0\.0\.1:\d+/g, 'receiver').match(/^(?! {2}>).+$/gm);
    const once = (attempts: number[], secrets: number) => [
      ...attempts.map((status) => `  < ${status}`),
      `  < delivered with attempt ${attempts.length}, signed with ${secrets}, handled 1 ×`,
    ];
    const metadata =
      '  < 422 refused: Cannot call host "169.254.169.254": "169.254.169.254" is refused, it is not public: linkLocal';
    expect(told).toEqual([
      'A video API calls back when a parse is done.',
      'An attacker registers http://127.0.0.1',
      '  < 422 refused: Cannot use callback URL: "http://receiver/callbacks" is not https, so everybody on the way could read what is sent',
      'An attacker registers https://127.0.0.1',
      '  < 422 refused: Cannot call host "127.0.0.1": "127.0.0.1" is refused, it is not public: loopback',
      'An attacker registers https://169.254.169.254',
      metadata,
      'If its own machine is allowed by name, Alice registers her receiver there',
      '  < 201 accepted: a secret, shown once',
      'The credentials of a cloud are not to be had all the same',
      metadata,
      'Alice has a video parsed, and is called back',
      ...once([200], 1),
      'An attacker watches the network.',
      'They send the very same bytes again: nothing runs',
      '  < 200 accepted: done',
      'They put a body of their own under the signature',
      '  < 401 refused: signature-invalid',
      'They give it another id, to have it handled again',
      '  < 401 refused: signature-invalid',
      'They sign with a secret of their own',
      '  < 401 refused: signature-invalid',
      'They send it without a signature',
      '  < 401 refused: signature-missing',
      'The receiver has a bad day.',
      'It fails, and is called again: the same id, signed again',
      ...once([500, 200], 1),
      'The secret changes, and nothing stops.',
      'Alice asks for a new one',
      '  < 200 accepted: a secret, shown once',
      'Both sign: her receiver, with the old one, accepts',
      ...once([200], 2),
      'With the new one alone, it accepts as well',
      ...once([200], 2),
      'Who has found the old one can do nothing with it',
      '  < 401 refused: signature-invalid',
      'All went as told.',
    ]);
  });

  it('shows the callbacks as they went over the wire, and no secret', () => {
    const ids = story.stdout.match(/(?<=^ {2}> webhook-id: ).+$/gm) ?? [];
    expect(ids).toHaveLength(5);
    expect(new Set(ids).size).toBe(4);
    expect(story.stdout).toMatch(/^ {2}> webhook-signature: v1,.{8}… v1,.{8}…$/m);
    expect(story.stdout).toMatch(/^ {2}> \{"type":"video.parsed",.*"title":"cats"\}\}$/m);
    expect(story.stdout).not.toMatch(/whsec_|[\w+/=-]{33}/);
  });
});

describe('node examples/callbacks/receiver.mjs', () => {
  const [old, next, stranger] = [newSecret(), newSecret(), newSecret()];
  let receiver: ChildProcess;
  let lines: Interface;
  let port: number;
  const handled: { id: string; data: unknown }[] = [];

  beforeAll(async () => {
    receiver = spawn(process.execPath, ['examples/callbacks/receiver.mjs'], {
      env: { ...process.env, PORT: '0', COUNTERSIGN_CALLBACK_SECRET: `${next},${old}` },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    lines = createInterface(receiver.stdout as NodeJS.ReadableStream);
    const [line] = await once(lines, 'line');
    port = Number(new URL(JSON.parse(line).url).port);
    lines.on('line', (it) => handled.push(JSON.parse(it)));
  });

  afterAll(async () => {
    const exit = once(receiver, 'exit');
    receiver.kill();
    await exit;
  });

  const now = () => Math.floor(Date.now() / 1000);
  const bodyOf = (title: string) =>
    JSON.stringify({ type: 'video.parsed', timestamp: '2026-11-24T22:30:05Z', data: { title } });
  /** A callback as bytes on the wire. */
  const wire = (
    headers: Record<string, string>,
    body: string | Uint8Array,
    line = 'POST /callbacks',
  ) => {
    const bytes = Buffer.from(body);
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const head = `${line} HTTP/1.1\r\nhost: receiver.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${bytes.length}\r\n${fields.join('')}\r\n`;
    return Buffer.concat([Buffer.from(head, 'latin1'), bytes]);
  };
  /** Sends bytes as they are, over a connection of their own. */
  const send = async (bytes: Uint8Array) => {
    const socket = connect(port, '127.0.0.1');
    socket.write(bytes);
    const answer = await text(socket);
    const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(answer) ?? [];
    const [, outcome] = /"(?:outcome|reason)":"([\w-]+)"/.exec(answer) ?? [];
    return { status: Number(status), outcome, answer };
  };
  const verdict = async (bytes: Uint8Array) => {
    const { status, outcome } = await send(bytes);
    return `${status} ${outcome}`;
  };
  const timesHandled = (id: string) => handled.filter((it) => it.id === id).length;

  it.each([
    ['the old one', [old]],
    ['the new one', [next]],
    ['both', [old, next]],
  ])('accepts what is signed with %s of two secrets, and handles it', async (name, secrets) => {
    const id = `msg_${name.replace(/ /g, '_')}`;
    const headers = signCallback(bodyOf(name), { secrets, id, signedAt: now() });
    expect(await verdict(wire(headers, bodyOf(name)))).toBe('200 completed');
    await expect
      .poll(() => handled)
      .toContainEqual({ id, type: 'video.parsed', data: { title: name } });
  });

  it('handles the same bytes once, however often and however many at once they come', async () => {
    const id = 'msg_copies';
    const bytes = wire(
      signCallback(bodyOf('copies'), { secrets: [next], id, signedAt: now() }),
      bodyOf('copies'),
    );
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => verdict(bytes)));
    expect(verdicts.filter((it) => it === '200 completed')).toHaveLength(1);
    expect(await verdict(bytes)).toBe('200 done');
    // An honest retry, signed again.
    const retry = signCallback(bodyOf('copies'), { secrets: [next], id, signedAt: now() + 1 });
    expect(await verdict(wire(retry, bodyOf('copies')))).toBe('200 done');
    expect(timesHandled(id)).toBe(1);
  });

  it('refuses a callback in which one character was changed, wherever', async () => {
    const body = bodyOf('forged');
    const headers = signCallback(body, { secrets: [next], id: 'msg_forged', signedAt: now() });
    const changed = (text: string, at: number) =>
      `${text.slice(0, at)}${text[at] === '1' ? '2' : '1'}${text.slice(at + 1)}`;
    for (const at of [0, 9, body.length - 1])
      expect(await verdict(wire(headers, changed(body, at)))).toBe('401 signature-invalid');
    const last = { 'webhook-timestamp': 9, 'webhook-id': 9, 'webhook-signature': 20 };
    for (const [name, at] of Object.entries(last)) {
      const forged = { ...headers, [name]: changed(headers[name] as string, at) };
      expect([name, await verdict(wire(forged, body))]).toEqual([name, '401 signature-invalid']);
    }
    for (const byte of [0xfe, 0xff]) {
      const signed = signCallback(Uint8Array.of(0xff), {
        secrets: [next],
        id: 'msg_ff',
        signedAt: now(),
      });
      const { status } = await send(wire(signed, Uint8Array.of(byte)));
      // The right one gets as far as the handler, for which it is no event.
      expect(status).toBe(byte === 0xff ? 500 : 401);
    }
    expect(timesHandled('msg_forged')).toBe(0);
  });

  it.each<[string, (id: string) => Uint8Array, string]>([
    [
      'signed by a stranger',
      (id) => wire(signCallback('{}', { secrets: [stranger], id, signedAt: now() }), '{}'),
      '401 signature-invalid',
    ],
    [
      'of long ago',
      (id) => wire(signCallback('{}', { secrets: [next], id, signedAt: now() - 310 }), '{}'),
      '401 clock-skew',
    ],
    [
      'of the future',
      (id) => wire(signCallback('{}', { secrets: [next], id, signedAt: now() + 400 }), '{}'),
      '401 clock-skew',
    ],
    ['without a signature', () => wire({}, '{}'), '401 signature-missing'],
    [
      'with two ids',
      (id) =>
        wire(
          { ...signCallback('{}', { secrets: [next], id, signedAt: now() }), 'Webhook-Id': id },
          '{}',
        ),
      '400 signature-malformed',
    ],
    [
      'with a body that is too large',
      (id) => {
        const body = ' '.repeat(1_048_577);
        return wire(signCallback(body, { secrets: [next], id, signedAt: now() }), body);
      },
      '413 body-too-large',
    ],
  ])('refuses a callback %s, and handles nothing', async (name, make, expected) => {
    const id = `msg_${name.replace(/ /g, '_')}`;
    expect(await verdict(make(id))).toBe(expected);
    expect(timesHandled(id)).toBe(0);
  });

  it('shows nothing of itself where a handler fails, and tries again when the sender does', async () => {
    const failed = once(createInterface(receiver.stderr as NodeJS.ReadableStream), 'line');
    const signed = () =>
      signCallback('{"type":', { secrets: [next], id: 'msg_bad', signedAt: now() });
    for (let attempt = 0; attempt < 2; attempt++) {
      const { status, answer } = await send(wire(signed(), '{"type":'));
      expect(status).toBe(500);
      expect(answer).not.toMatch(/node_modules|\.m?js\b|JSON/);
    }
    expect(String(await failed)).toMatch(/^Cannot handle callback: /);
  });
});
