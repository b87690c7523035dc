import { inspect } from 'node:util';
import { MemoryKeyStore } from '@countersign/server';
import {
  createCallbackVerifier,
  createOnce,
  standardWebhooks,
} from '@countersign/server/callbacks';
import { expect, it } from 'vitest';
import { createApi } from '../../../../test/support/api.ts';

const PASSWORD = 'mT0pQ7vYx2Zr8LwK';
const SECRET = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';

/** As ioredis rejects, where the password of Redis is wrong. */
const refused = async (): Promise<never> => {
  const command = { name: 'auth', args: ['default', PASSWORD] };
  throw Object.assign(new Error('WRONGPASS invalid username-password pair'), { command });
};

/** What a call throws, as a log would show it. */
const shown = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'nothing was thrown',
    (error) => inspect(error, { depth: 12, showHidden: true }),
  );

it('a store that fails says why, and never with the password that it was given', async () => {
  const scheme = standardWebhooks();
  const body = new Uint8Array();
  const params = { id: 'msg_1', signedAt: Math.floor(Date.now() / 1000) };
  const signature = scheme.parseKey(SECRET).sign?.(scheme.content(params, body)) ?? '';
  const headers = scheme.write?.(params, [signature]) ?? {};
  const callback = await createCallbackVerifier({ secrets: [SECRET] }).verify({ headers, body });
  const store = { begin: refused, goOn: refused, release: refused, finish: refused };

  const nonces = { claim: refused };
  const api = createApi({ nonces });
  const request = await api.sign();
  const texts = await Promise.all([
    shown(
      createApi({ keys: Object.assign(new MemoryKeyStore(), { find: refused }) }).verifier.verify(
        request,
      ),
    ),
    shown(api.verifier.verify(request)),
    shown(createCallbackVerifier({ secrets: refused }).verify({ headers, body })),
    shown(createCallbackVerifier({ secrets: [SECRET], nonces }).verify({ headers, body })),
    shown(createOnce({ store: store as never })(callback, () => undefined)),
  ]);
  for (const text of texts) {
    expect(text).toContain('WRONGPASS');
    expect(text).not.toContain(PASSWORD);
  }
});
