// No connection is held forever. The tests set the time: the module takes its timers and its clock
// when it is loaded.

import { EventEmitter, once } from 'node:events';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { until } from '../../../../test/support/deadline.ts';
import type { HeldRequest } from '../../src/http/connection-hold.ts';
import { gate, MODES, turns } from './hand-on-support.ts';
import { headOf, listen, parties, RawClient } from './sockets.ts';

/** In milliseconds. */
let now = 0;
let sweeps: Set<() => void>;
let connectionHold: typeof import('../../src/http/connection-hold.ts');

beforeEach(async () => {
  now = 1_000_000;
  sweeps = new Set();
  vi.resetModules();
  vi.stubGlobal('performance', { now: () => now });
  vi.stubGlobal('setInterval', (sweep: () => void) => {
    sweeps.add(sweep);
    return sweep;
  });
  vi.stubGlobal('clearInterval', (sweep: () => void) => void sweeps.delete(sweep));
  try {
    connectionHold = await import('../../src/http/connection-hold.ts');
  } finally {
    vi.unstubAllGlobals();
  }
});

/** Lets time pass, second by second. */
function pass(seconds: number): void {
  for (let second = 0; second < seconds; second++) {
    now += 1_000;
    for (const sweep of [...sweeps]) sweep();
  }
}

/** A request on a connection that counts how often it is paused and resumed. */
function requestOf(socket = { paused: 0, resumed: 0 }): HeldRequest & { socket: typeof socket } {
  return Object.assign(new EventEmitter(), {
    httpVersionMajor: 1,
    readableLength: 0,
    socket: Object.assign(socket, {
      pause: () => socket.paused++,
      resume: () => socket.resumed++,
      push: () => true,
      read: () => null,
    }),
  });
}

describe('ConnectionHold', () => {
  it('releases a connection after 5 s, even if no caller ends the hold', async () => {
    const { socket, ...rest } = requestOf();
    new connectionHold.ConnectionHold({ ...rest, socket }).begin();
    await turns(1);
    expect(socket).toMatchObject({ paused: 1, resumed: 0 });
    pass(4);
    expect(socket.resumed).toBe(0);
    pass(1);
    expect(socket.resumed).toBe(1);
  });

  it('stops its timer when it holds nothing, and starts it again with the next hold', async () => {
    const [first, second] = [requestOf(), requestOf()];
    const hold = new connectionHold.ConnectionHold(first);
    hold.begin();
    await turns(1);
    expect(sweeps.size).toBe(1);
    hold.end();
    expect(first.socket.resumed).toBe(1);
    pass(1);
    expect(sweeps.size).toBe(0);
    new connectionHold.ConnectionHold(second).begin();
    await turns(1);
    pass(5);
    expect(second.socket).toMatchObject({ paused: 1, resumed: 1 });
    expect(sweeps.size).toBe(0);
  });

  it('counts from the last time that a connection was held', async () => {
    const request = requestOf();
    const hold = new connectionHold.ConnectionHold(request);
    hold.begin();
    await turns(1);
    pass(4);
    hold.renew();
    await turns(1);
    pass(4);
    expect(request.socket).toMatchObject({ paused: 2, resumed: 1 });
    pass(1);
    expect(request.socket.resumed).toBe(2);
  });

  it('holds a connection until the last of its requests releases it', async () => {
    const request = requestOf();
    const [first, second] = [1, 2].map(() => new connectionHold.ConnectionHold(request));
    first?.begin();
    await turns(1);
    pass(3);
    second?.begin();
    await turns(1);
    pass(2);
    expect(request.socket.resumed).toBe(0);
    pass(3);
    expect(request.socket.resumed).toBe(1);
  });

  it('ends once, even if two callers end it', async () => {
    const request = requestOf();
    const hold = new connectionHold.ConnectionHold(request);
    hold.begin();
    await turns(1);
    pass(5);
    hold.end();
    hold.end();
    expect(request.socket.resumed).toBe(1);
  });
});

describe.each(MODES)('a store that never answers, %s', (body) => {
  it('keeps no connection whose client has gone for more than 5 s', async () => {
    const { withSignature } = await import('@countersign/server/node');
    const { verifier, nonces, signer } = parties();
    const asked = gate();
    nonces.claim = () => {
      asked.open();
      return new Promise(() => undefined);
    };
    const { server, origin, port } = await listen(
      withSignature((_req, res) => void res.end(), verifier, { body }),
    );
    const connected = once(server, 'connection');
    const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'abc' });
    const client = new RawClient(port);
    client.write(`${headOf(signed, { 'content-length': 3 })}abc`);
    const [socket] = await connected;
    const closed = gate();
    socket.once('close', closed.open);
    await asked.opened;
    await turns();
    client.socket.resetAndDestroy();
    await turns();
    pass(4);
    await turns();
    expect(socket.destroyed).toBe(false);
    pass(1);
    await closed.opened;
    expect(socket.destroyed).toBe(true);
  });
});

describe.each(MODES)('a handler that reads no body, %s', (body) => {
  it('releases the connection with its answer', async () => {
    const { withSignature } = await import('@countersign/server/node');
    const { verifier, nonces, signer } = parties();
    const claim = nonces.claim.bind(nonces);
    nonces.claim = async (nonce) => {
      await turns();
      return claim(nonce);
    };
    let come = 0;
    const guarded = withSignature((_req, res) => void res.end('unread'), verifier, { body });
    const { origin, port } = await listen((req, res) => {
      come++;
      guarded(req, res);
    });
    const client = new RawClient(port);
    for (const count of [1, 2, 3]) {
      const signed = await signer.sign({ method: 'POST', url: `${origin}/`, body: 'unread' });
      client.write(`${headOf(signed, { 'content-length': 6 })}un`);
      await until(() => come === count, `request ${count} arrives`);
      await turns();
      client.write('read');
      // No time passes, so only the answer can release the connection.
      expect(await client.answer()).toMatchObject({ status: 200, body: 'unread' });
    }
  });
});
