import { expect, it } from 'vitest';
import { httpOriginOf } from '../src/index.ts';
import { toUrl } from '../src/to-url.ts';

it('reads a host beyond ASCII after many others, too', () => {
  // V8 optimizes a function after so many calls.
  for (let call = 0; call < 200_000; call++) toUrl(`https://api.test/${call}`);
  expect(toUrl('https://bücher.test/')?.host).toBe('xn--bcher-kva.test');
  expect(httpOriginOf('https://bücher.test')).toBe('https://xn--bcher-kva.test');
});

it('gives undefined for a text that is no URL', () => {
  for (const text of ['', '/videos', 'https://', 'https://[', 'no scheme'])
    expect(toUrl(text), text).toBeUndefined();
  expect(toUrl('/videos', 'https://api.test/')?.href).toBe('https://api.test/videos');
});
