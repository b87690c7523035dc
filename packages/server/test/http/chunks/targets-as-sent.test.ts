// A scheme that signs targets as they were sent, through each adapter.

import { countersign, type Scheme } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { plainScheme } from '../../../../../test/support/plain-scheme.ts';
import { ADAPTERS, chunkParties, post, seal, startServer } from './chunks-support.ts';

const scheme = plainScheme({ targets: 'as-sent' }) as Scheme;

describe.each(ADAPTERS)('%s', (name, serve) => {
  it.each(['/a%', '/a%zz/b', '/%e4'])('accepts %s only if the scheme signs it', async (path) => {
    const lenient = chunkParties({ schemes: [countersign(), scheme] });
    const strict = chunkParties({ keys: lenient.keys });
    for (const [{ verifier }, status] of [
      [strict, 400],
      [lenient, 200],
    ] as const) {
      const { port } = await startServer(serve, verifier);
      const sealed = await seal(lenient, port, ['one'], { path, scheme });
      expect(await post(name, port, sealed)).toMatchObject({ status });
      const other = await post(name, port, { ...sealed, path: `${path}x` });
      expect(other).toMatchObject({ status: status === 400 ? 400 : 401 });
    }
    expect(strict.refused.map(({ code }) => code)).toEqual(Array(2).fill('ERR_TARGET_AMBIGUOUS'));
    expect(lenient.refused.map(({ code }) => code)).toEqual(['ERR_SIGNATURE_MISMATCH']);
  });
});
