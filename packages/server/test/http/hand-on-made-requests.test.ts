// A batch endpoint makes a request from each part of a batch, and passes it to a guarded handler
// with the bindings of the batch request.

import type { Server } from 'node:http';
import { withSignature } from '@countersign/server/fetch';
import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { describe, expect, it } from 'vitest';
import { MODES } from './hand-on-support.ts';
import { headOf, listen, parties, RawClient } from './sockets.ts';

type Part = { method: string; url: string; headers: Record<string, string>; body?: string };

/** Serves a batch endpoint, and returns the outcome of each part of a batch. */
async function serve(guarded: (request: Request, bindings: unknown) => Promise<Response>) {
  const app = new Hono();
  app.post('/batch', async (context) => {
    const outcomes: [number, string][] = [];
    for (const { url, ...init } of (await context.req.json()) as Part[]) {
      const response = await guarded(new Request(url, init), context.env);
      const text = await response.text();
      outcomes.push([response.status, response.ok ? text : JSON.parse(text).reason]);
    }
    return context.json(outcomes);
  });
  app.all('*', (context) => guarded(context.req.raw, context.env));
  const { origin, port } = await listen(createAdaptorServer({ fetch: app.fetch }) as Server);
  const post = async (...parts: Part[]) => {
    const response = await fetch(`${origin}/batch`, {
      method: 'POST',
      body: JSON.stringify(parts),
    });
    return response.json();
  };
  return { origin, port, post };
}

describe.each(MODES)('a request that an application has made, %s', (body) => {
  async function open() {
    const { verifier, signer } = parties();
    const acted: string[] = [];
    const guarded = withSignature(
      async (request: Request, _identity, _bindings: unknown) => {
        acted.push(`${new URL(request.url).pathname} ${await request.text()}`);
        return new Response('acted');
      },
      verifier,
      { body },
    );
    const served = await serve(guarded);
    const init = { method: 'PUT', body: 'cats' };
    const sign = (path: string) => signer.sign({ ...init, url: served.origin + path });
    const part = async (signedFor: string, usedFor: string): Promise<Part> => {
      const { headers } = await sign(signedFor);
      const { host } = new URL(served.origin);
      return { ...init, url: served.origin + usedFor, headers: { host, ...headers } };
    };
    return { ...served, sign, part, acted };
  }

  it('is accepted by its own url', async () => {
    const { post, part, acted } = await open();
    const parts = [await part('/videos/1', '/videos/1'), await part('/batch', '/batch')];
    expect(await post(...parts)).toEqual([
      [200, 'acted'],
      [200, 'acted'],
    ]);
    expect(acted).toEqual(['/videos/1 cats', '/batch cats']);
  });

  it('is refused if the signature is for the request that it came with', async () => {
    const { post, part, acted } = await open();
    const parts = [await part('/batch', '/videos/1'), await part('/batch', '/batch?')];
    expect(await post(...parts)).toEqual([
      [401, 'signature-invalid'],
      [401, 'signature-invalid'],
    ]);
    expect(acted).toEqual([]);
  });

  it('does not change how a request of the server is verified: by what its request line says', async () => {
    const { port, sign, acted } = await open();
    for (const [target, status, text] of [
      ['/a/../videos/1', 400, 'its path holds a dot segment'],
      ['/videos/1', 200, 'acted'],
    ] as const) {
      const head = headOf(await sign('/videos/1'), { 'content-length': 4 });
      const client = new RawClient(port);
      client.write(`${head.replace('/videos/1', target)}cats`);
      const answer = await client.answer();
      expect(answer.status).toBe(status);
      expect(answer.body).toContain(text);
    }
    expect(acted).toEqual(['/videos/1 cats']);
  });
});
