// Requests that a library made. Their streams give the next bytes only after the last ones were
// pushed.

import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { verifyRequest } from '@countersign/server/fetch';
import { withSignature } from '@countersign/server/node';
import { describe, expect, it } from 'vitest';
import { within } from '../../../../../test/support/deadline.ts';
import { chunkParties, MODES, plain, type Sealed, seal } from './chunks-support.ts';

/** A request that pushes a few bytes each time that its stream asks for more. */
function madeRequest({ method, path, headers, frames }: Sealed): IncomingMessage {
  const bytes = Buffer.concat(frames);
  let at = 0;
  const req = new IncomingMessage(new Socket());
  Object.assign(req, { method, url: path, headers, httpVersionMajor: 1 });
  req.rawHeaders = Object.entries(headers).flat();
  const { _read } = req;
  req._read = (size) => {
    _read.call(req, size);
    const piece = bytes.subarray(at, at + 7);
    at += 7;
    setImmediate(() => req.push(piece.length > 0 ? piece : null));
  };
  return req;
}

describe('body: stream', () => {
  it('a request that is pulled is read to its end, though pieces hold no whole chunk', async () => {
    const all = chunkParties();
    const sealed = await seal(all, 1, ['one', 'two']);
    const req = madeRequest(sealed);
    const read = new Promise<string>((resolve, reject) => {
      const listener = withSignature(
        async (it) => void text(it).then(resolve, reject),
        all.verifier,
        { body: 'stream' },
      );
      const res = new ServerResponse(req);
      res.writeHead = ((status: number) => reject(new Error(`answered ${status}`))) as never;
      listener(req, res);
    });
    expect(await within(read, 'the body is read')).toBe('onetwo');
  });
});

describe.each(MODES)('body: %s', (body) => {
  it('a Request without a body is refused if it has no chunks', async () => {
    const all = chunkParties();
    const { headers, path } = await seal(all, 1, [], { method: 'GET' });
    const request = new Request(`http://${headers['host']}${path}`, { method: 'GET', headers });
    await expect(verifyRequest(all.verifier, request, { body })).rejects.toMatchObject({
      code: 'ERR_BODY_MISMATCH',
    });
    // A scheme may treat such a request as complete.
    const end = () => undefined;
    const openBody = () => ({ headers: { 'content-encoding': undefined }, push: () => [], end });
    const lenient = chunkParties({ schemes: [{ ...plain, openBody }], keys: all.keys }).verifier;
    const verified = await verifyRequest(lenient, request, { body });
    expect(verified.request.headers.get('content-encoding')).toBe(null);
    expect(await verified.request.text()).toBe('');
  });
});
