// TLS reports the end of a connection together with the bytes before it. The client accepts every
// certificate, so the dates in it do not matter.

import { createServer } from 'node:https';
import { connect } from 'node:tls';
import { requireSignature } from '@countersign/server/express';
import { withSignature } from '@countersign/server/node';
import { generate } from 'selfsigned';
import { describe, expect, it } from 'vitest';
import { FRAMEWORKS, gate, MODES, STORES, slowDown, turns } from './hand-on-support.ts';
import { bodyOf, headOf, listen, parties, RawClient } from './sockets.ts';

const { private: key, cert } = await generate([{ name: 'commonName', value: 'api.test' }], {
  keyType: 'ec',
  algorithm: 'sha256',
});

const SIZES = [1, 90_000];
const ENDS = ['behind its request', 'while the store is asked', 'not at all'] as const;

type Guarded = ReturnType<typeof parties>;
type Mode = (typeof MODES)[number];

const SERVERS: [
  name: string,
  make: (those: Guarded, body: Mode) => Parameters<typeof createServer>[1],
][] = [
  ...FRAMEWORKS.map(([name, framework]): (typeof SERVERS)[number] => [
    name,
    ({ verifier }, body) => {
      const app = framework();
      app.use(requireSignature(verifier, { body }), framework.json());
      return app.use((req, res) => void res.send(String(req.body?.text.length)));
    },
  ]),
  [
    'node:https',
    ({ verifier }, body) =>
      withSignature(
        async (req, res) => {
          let text = '';
          for await (const chunk of req) text += String(chunk);
          res.end(String(JSON.parse(text).text.length));
        },
        verifier,
        { body },
      ),
  ],
];

describe.each(SERVERS)('a client that ends its side of a TLS connection to %s', (_, make) => {
  for (const store of STORES)
    for (const end of ENDS) {
      // A store in memory answers without a wait.
      if (store === 'memory' && end === 'while the store is asked') continue;
      it.each(MODES)(`is answered: ${end}, a store of the kind ${store}, %s`, async (mode) => {
        for (const size of SIZES) {
          const those = parties();
          const asked = gate();
          if (store === 'slow') {
            slowDown(those, async () => {
              asked.open();
              await turns();
            });
          }
          const server = createServer({ key, cert }, make(those, mode));
          const { port } = await listen(server);
          const signed = await those.signer.sign({
            method: 'POST',
            url: `https://127.0.0.1:${port}/`,
            body: { text: 'x'.repeat(size) },
          });
          const body = bodyOf(signed);
          const client = new RawClient(
            connect({ port, host: '127.0.0.1', rejectUnauthorized: false }),
          );
          client.write(headOf(signed, { 'content-length': body.length }));
          client.write(body);
          if (end === 'while the store is asked') await asked.opened;
          if (end !== 'not at all') client.socket.end();
          expect(await client.answer()).toMatchObject({ status: 200, body: String(size) });
        }
      });
    }
});
