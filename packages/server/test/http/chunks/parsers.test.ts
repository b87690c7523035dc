// Body parsers below the middleware. The bytes that they read of a chunked body fit its header
// fields.

import { createServer } from 'node:http';
import { keepRawBody, requireSignature } from '@countersign/server/express';
import type { Scheme } from '@countersign/shared';
import express from 'express';
import express4 from 'express4';
import { describe, expect, it } from 'vitest';
import { listen, type Parties } from '../sockets.ts';
import { chunkParties, DELIVERIES, MODES, plain, post, seal } from './chunks-support.ts';

const PIECES = ['{"id":', '1', ',"tag":"', 'x'.repeat(3_000), '"}'];

async function parsingServer(
  framework: typeof express,
  { verifier }: Parties,
  body: 'buffer' | 'stream',
) {
  const app = framework();
  const parsed: unknown[] = [];
  app.use(requireSignature(verifier, { body }));
  app.use(
    framework.json(),
    framework.text({ type: 'text/plain' }),
    framework.urlencoded({ extended: false }),
  );
  app.use((req, res) => {
    parsed.push(req.body);
    res.json(req.body ?? 'no body');
  });
  app.use(((error, _req, res, _next) => {
    if (!res.headersSent) res.status(error.status ?? 500).json({ failed: error.message });
  }) as express.ErrorRequestHandler);
  return { parsed, ...(await listen(createServer(app))) };
}

const cases = (
  [
    ['Express 5', express],
    ['Express 4', express4 as unknown as typeof express],
  ] as const
).flatMap(([name, framework]) =>
  MODES.flatMap((mode) => DELIVERIES.map((delivery) => [name, mode, delivery, framework] as const)),
);

describe.each(cases)('%s, body: %s, sent %s', (_, mode, delivery, framework) => {
  it('is parsed, with a length on the wire and without', async () => {
    const all = chunkParties();
    const { port, parsed } = await parsingServer(framework, all, mode);
    for (const [index, length] of [true, false].entries()) {
      const json = await seal(all, port, PIECES, { path: `/json${index}` });
      const answer = await post('Express', port, json, { delivery, length });
      expect(answer).toEqual({ status: 200, body: PIECES.join('') });
      const headers = { 'content-type': 'text/plain' };
      const text = await seal(all, port, ['one ', 'two'], { path: `/text${index}`, headers });
      expect(await post('Express', port, text, { delivery, length })).toEqual({
        status: 200,
        body: '"one two"',
      });
    }
    expect(parsed).toHaveLength(4);
  });

  it('is not handed on by a parser if it is cut short', async () => {
    const all = chunkParties();
    const { port, parsed } = await parsingServer(framework, all, mode);
    const { frames, ...rest } = await seal(all, port, PIECES);
    // The JSON is complete, but the signed end is missing.
    const answer = await post(
      'Express',
      port,
      { ...rest, frames: frames.slice(0, -1) },
      { delivery },
    );
    expect(answer).toMatchObject({ status: 401, body: expect.stringContaining('body-mismatch') });
    expect(parsed).toEqual([]);
  });

  it('keeps the content coding that is not the framing', async () => {
    const openBody: NonNullable<Scheme['openBody']> = (request, ...rest) => {
      const judge = plain.openBody?.(request, ...rest) ?? expect.unreachable();
      const coding = request.headers.get('content-encoding')?.replace(/^plain-chunked, ?/, '');
      return { ...judge, headers: { 'content-encoding': coding } };
    };
    const all = chunkParties({ schemes: [{ ...plain, openBody }] });
    const { port } = await parsingServer(framework, all, mode);
    const { gzipSync } = await import('node:zlib');
    const compressed = gzipSync('{"id":1}');
    const sealed = await seal(all, port, [compressed.subarray(0, 9), compressed.subarray(9)], {
      headers: { 'content-encoding': 'plain-chunked, gzip' },
    });
    expect(await post('Express', port, sealed, { delivery })).toEqual({
      status: 200,
      body: '{"id":1}',
    });
  });
});

describe('a parser above', () => {
  it.each(MODES)(
    'has read the framing, so the body is refused as consumed, body: %s',
    async (body) => {
      const all = chunkParties();
      const app = express();
      app.use(express.raw({ type: () => true, verify: keepRawBody, inflate: false }));
      app.use(requireSignature(all.verifier, { body }));
      app.use((_req, res) => void res.sendStatus(204));
      const { port } = await listen(createServer(app));
      const headers = { 'content-encoding': 'identity' };
      const answer = await post('Express', port, await seal(all, port, ['a'], { headers }));
      expect(answer?.status).toBe(500);
      expect(all.refused.map(({ code }) => code)).toEqual(['ERR_BODY_CONSUMED']);
    },
  );

  it.each(MODES)('left the bytes in req.rawBody: they are refused, body: %s', async (body) => {
    const all = chunkParties();
    const app = express();
    app.use((req, _res, next) => {
      const chunks: Buffer[] = [];
      req.on('data', (chunk) => void chunks.push(chunk));
      req.on('end', () => {
        Object.assign(req, { rawBody: Buffer.concat(chunks) });
        next();
      });
    });
    app.use(requireSignature(all.verifier, { body }));
    app.use((_req, res) => void res.sendStatus(204));
    const { port } = await listen(createServer(app));
    const answer = await post('Express', port, await seal(all, port, ['a']));
    expect(answer?.status).toBe(500);
    expect(all.refused.map(({ code }) => code)).toEqual(['ERR_BODY_CONSUMED']);
  });
});
