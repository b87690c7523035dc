// Bodies that are signed in chunks, by a scheme that is no part of the packages. An adapter hands
// on verified bytes only, and the application never sees the end of any other body.

import { describe, expect, it } from 'vitest';
import {
  ADAPTERS,
  chunkParties,
  DELIVERIES,
  MODES,
  post,
  seal,
  startServer,
} from './chunks-support.ts';

const PIECES = ['{"id":', '"one"', ',"tag":"', 'x'.repeat(5_000), '"}'];
const WHOLE = PIECES.join('');

const cases = ADAPTERS.flatMap(([name, serve]) =>
  MODES.flatMap((mode) => DELIVERIES.map((delivery) => [name, mode, delivery, serve] as const)),
);

/** What an attacker on the network path makes of the chunks of a signed body. */
const forgeries: Record<string, (frames: Buffer[]) => Buffer[]> = {
  'cut short behind a chunk': (frames) => frames.slice(0, -1),
  'cut short within a chunk': (frames) => [
    ...frames.slice(0, 2),
    frames[2]?.subarray(0, 90) ?? Buffer.alloc(0),
  ],
  'cut short behind the first': (frames) => frames.slice(0, 1),
  'without a chunk in the middle': (frames) => frames.toSpliced(1, 1),
  'with the end only': (frames) => frames.slice(-1),
  'in another order': ([a, b, ...rest]) => [b as Buffer, a as Buffer, ...rest],
  'with a chunk twice': ([a, ...rest]) => [a as Buffer, a as Buffer, ...rest],
  'with the end twice': (frames) => [...frames, frames.at(-1) as Buffer],
  'with a byte behind the end': (frames) => [...frames, Buffer.from('\n')],
  'without a byte': () => [],
  'with another byte': (frames) => {
    const [first = Buffer.alloc(0)] = frames;
    const forged = Buffer.from(first);
    forged[forged.length - 1] = (forged[forged.length - 1] as number) ^ 1;
    return [forged, ...frames.slice(1)];
  },
  'of a huge length': () => [Buffer.from(`ffffffff;${'0'.repeat(64)}\n`), Buffer.alloc(100)],
  'that is no chunk': () => [Buffer.from('{"id":2}')],
};

describe.each(cases)('%s, body: %s, sent %s', (name, mode, delivery, serve) => {
  it('hands the body on without its framing', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    for (const length of [true, false]) {
      const sealed = await seal(all, server.port, PIECES, { path: `/${length}` });
      const answer = await post(name, server.port, sealed, { delivery, length });
      expect(answer).toEqual({ status: 200, body: `read ${WHOLE}` });
      const { headers } = server.handled.at(-1) ?? {};
      expect(headers?.['content-encoding']).toBe(undefined);
      expect(headers?.['content-type']).toBe('application/json');
      const shown = headers?.['content-length'] ?? 'none';
      expect(['none', String(WHOLE.length)]).toContain(shown);
      if (mode === 'buffer' && length) expect(shown).toBe(String(WHOLE.length));
    }
  });

  it('hands an empty body on', async () => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    const answer = await post(name, server.port, await seal(all, server.port, []), { delivery });
    expect(answer).toEqual({ status: 200, body: 'read ' });
  });

  it.each(Object.keys(forgeries))('does not end a body %s', async (forgery) => {
    const all = chunkParties();
    const server = await startServer(serve, all.verifier, { body: mode });
    const sealed = await seal(all, server.port, PIECES);
    const forge = forgeries[forgery] as (frames: Buffer[]) => Buffer[];
    const answer = await post(
      name,
      server.port,
      { ...sealed, frames: forge(sealed.frames) },
      { delivery },
    );
    expect(server.handled.map(({ text }) => text)).toEqual(server.handled.map(() => undefined));
    if (mode === 'buffer') expect(server.handled).toEqual([]);
    expect(all.refused.map(({ code }) => code)).toEqual(['ERR_BODY_MISMATCH']);
    // For a streamed body, the fetch handler itself has answered.
    if (name === 'fetch' && mode === 'stream' && answer?.status === 200)
      expect(answer.body).toBe('failed');
    else
      expect(answer).toMatchObject({ status: 401, body: expect.stringContaining('body-mismatch') });
  });
});
