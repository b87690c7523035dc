import { createSigner } from '@countersign/client';
import type { AccessKey } from '@countersign/server';
import { Pool } from 'undici';
import { expect, it, onTestFinished } from 'vitest';
import { AUDIENCE, CYCLES, startVerifiers } from './lab.ts';
import { at, startVictim } from './victim.ts';

const ROUNDS = 1_000;
const COPIES = 64;

it('64 copies at once, over 8 connections to 4 processes: one is accepted, in 1,000 of 1,000 rounds', {
  timeout: 600_000,
}, async () => {
  const redis = await startVictim();
  // What is slow here is the machine: a copy that was given up, or is stale by then, proves
  // nothing.
  const { ports, accessKeys } = await startVerifiers({
    redis: at(redis),
    store: { timeout: 10 },
    window: 120,
  });
  const pools = ports.map(
    (port) => new Pool(`http://127.0.0.1:${port}`, { connections: 2, pipelining: 8 }),
  );
  onTestFinished(async () => void (await Promise.all(pools.map((pool) => pool.destroy()))));
  const { accessKeyId, secretAccessKey = '' } = accessKeys[0] as AccessKey;
  const signer = createSigner({
    credentials: { accessKeyId, secretAccessKey },
    audience: AUDIENCE,
  });
  let epoch: string | undefined;

  /** How many of each answer there were. */
  async function sendCopies(): Promise<Record<string, number>> {
    const url = 'http://api.test/VideoParser/';
    const { headers, body } = await signer.sign({ method: 'PUT', url, body: 'x', epoch });
    const counts: Record<string, number> = {};
    const send = async (copy: number): Promise<void> => {
      const pool = pools[copy % pools.length] as Pool;
      const request = { method: 'PUT', path: '/VideoParser/', body: body as Uint8Array } as const;
      const answer = await pool.request({ ...request, headers: { ...headers, host: 'api.test' } });
      const { reason = '' } = (await answer.body.json()) as { reason?: string };
      const name = `${answer.statusCode} ${reason}`.trim();
      counts[name] = (counts[name] ?? 0) + 1;
      epoch = answer.headers['countersign-epoch'] as string;
    };
    await Promise.all(Array.from({ length: COPIES }, (_, copy) => send(copy)));
    return counts;
  }

  expect(await sendCopies()).toEqual({ '401 replay-unknown': COPIES });
  for (let round = 0; round < ROUNDS * CYCLES; round++)
    expect(await sendCopies()).toEqual({ '200': 1, '401 nonce-reused': COPIES - 1 });
});
