import { createFetch } from '@countersign/client';
import { describe, expect, it } from 'vitest';
import { audience, clock, credentials } from '../support.ts';

/** An answer that asks for another attempt, and that came from a URL. */
function refusalFrom(url: string, reason: string): Response {
  const challenge = `COUNTERSIGN1-HMAC-SHA256 realm="${audience}", error="${reason}"`;
  const response = new Response(reason, {
    status: 401,
    headers: { 'www-authenticate': challenge, 'countersign-epoch': 'epoch-1' },
  });
  return Object.defineProperty(response, 'url', { value: url });
}

describe('signedFetch() over a fetch that has gone elsewhere', () => {
  it.each([
    ['https://api.test/', 2],
    ['https://api.test/other?a=b', 2],
    ['https://API.test:443/', 2],
    ['', 2],
    ['https://evil.test/', 1],
    ['https://api.test.evil.test/', 1],
    ['https://api.test:8443/', 1],
    ['http://api.test/', 1],
    ['data:text/plain,x', 1],
  ])('signs again only if the server that it asked refuses: from %s', async (from, attempts) => {
    for (const reason of ['replay-unknown', 'signature-invalid']) {
      let sent = 0;
      let asked = 0;
      const call = createFetch({
        audience,
        clock,
        credentials: () => {
          asked += 1;
          return { ...credentials, accessKeyId: `CSAK${asked}` };
        },
        fetch: async () => {
          sent += 1;
          return refusalFrom(from, reason);
        },
      });
      expect((await call('https://api.test/')).status).toBe(401);
      expect(sent, reason).toBe(attempts);
      expect(asked, reason).toBe(reason === 'signature-invalid' ? attempts : 1);
    }
  });

  it.each([
    ['https://api.test/', 'epoch-1'],
    ['', 'epoch-1'],
    ['https://evil.test/', null],
  ])(
    'signs later calls with the epoch only of the server that it asked: from %s',
    async (from, epoch) => {
      const epochs: (string | null)[] = [];
      const call = createFetch({
        audience,
        clock,
        credentials,
        fetch: async (_, init) => {
          epochs.push(new Headers(init?.headers).get('x-countersign-epoch'));
          return refusalFrom(from, 'scope-missing');
        },
      });
      await call('https://api.test/');
      await call('https://api.test/');
      expect(epochs).toEqual([null, epoch]);
    },
  );
});
