import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { audience, buildVerifier, credentials, judge, NOW } from './support.ts';

const root = new URL('../../../', import.meta.url).pathname;

/** Bundles the sources of the client for browsers, so that nothing must be built first. */
async function bundle(): Promise<{ code: string; inputs: string[]; imports: string[] }> {
  const { outputFiles, metafile } = await build({
    entryPoints: [`${root}packages/client/src/index.ts`],
    bundle: true,
    write: false,
    metafile: true,
    format: 'iife',
    globalName: 'client',
    platform: 'browser',
    conditions: ['browser'],
    alias: {
      '@countersign/shared': `${root}packages/shared/src/index.ts`,
      '#digest': `${root}packages/shared/src/digest.browser.ts`,
      '#private-key': `${root}packages/shared/src/private-key.browser.ts`,
    },
    // The alias hides the package that needs this module, so it is resolved here.
    nodePaths: [`${root}packages/shared/node_modules`],
  });
  const [output] = Object.values(metafile.outputs);
  return {
    code: outputFiles[0]?.text ?? '',
    inputs: Object.keys(metafile.inputs),
    imports: (output?.imports ?? []).map(({ path }) => path),
  };
}

let bundled: Awaited<ReturnType<typeof bundle>>;
beforeAll(async () => {
  bundled = await bundle();
});

/** The globals of a page, without those of Node: no `process`, `Buffer`, `require`, `global`. */
function openPage(globals: Record<string, unknown> = {}): (code: string) => unknown {
  const context = createContext({
    AbortController,
    Blob,
    crypto: globalThis.crypto,
    File,
    FormData,
    Headers,
    ReadableStream,
    Request,
    Response,
    TextDecoder,
    TextEncoder,
    URL,
    URLSearchParams,
    credentials,
    audience,
    NOW,
    ...globals,
  });
  runInContext(bundled.code, context);
  return (code) => runInContext(code, context);
}

describe('the client in a browser', () => {
  it('imports nothing of Node', () => {
    expect(bundled.imports).toEqual([]);
    expect(bundled.code).not.toMatch(/["']node:|require\(/);
    expect(bundled.inputs.filter((path) => /digest\.node|undici/.test(path))).toEqual([]);
    expect(bundled.inputs.some((path) => path.endsWith('digest.browser.ts'))).toBe(true);
  });

  it('has none of the names of Node around it', () => {
    expect(openPage()('[typeof process, typeof Buffer, typeof require, typeof global]')).toEqual([
      'undefined',
      'undefined',
      'undefined',
      'undefined',
    ]);
  });

  it.each([
    ['an object', '({ videoUrl: "https://videos.test/ü" })'],
    ['text', '"hällo"'],
    ['bytes', 'Uint8Array.of(0xff, 0xfe)'],
    ['an ArrayBuffer', 'Uint8Array.of(1, 2).buffer'],
    ['a Blob', 'new Blob(["blob"], { type: "text/x" })'],
    ['search parameters', 'new URLSearchParams("a=b c")'],
    ['a form', '(() => { const form = new FormData(); form.append("a", "b"); return form; })()'],
    ['nothing', 'undefined'],
  ])('signs %s, which the verifier in Node accepts', async (_what, body) => {
    const signed = (await openPage()(`
      client.createSigner({ credentials, audience, clock: () => NOW })
        .sign({ method: 'POST', url: 'https://api.test/VideoParser/?q=1', body: ${body} })
    `)) as {
      method: string;
      headers: Record<string, string>;
      body: Blob | Uint8Array<ArrayBuffer> | undefined;
    };
    const bytes = new Uint8Array(await new Response(signed.body).arrayBuffer());
    const received = {
      method: signed.method,
      url: '/VideoParser/?q=1',
      headers: { ...signed.headers, host: 'api.test' },
      body: bytes,
    };
    expect(await judge(buildVerifier(), received)).toBe('accepted');
    expect(await judge(buildVerifier(), { ...received, body: Uint8Array.of(...bytes, 0) })).toBe(
      'ERR_BODY_MISMATCH',
    );
  });

  it('presigns a URL, which the verifier in Node accepts', async () => {
    const url = new URL(
      (await openPage()(
        `client.createSigner({ credentials, audience, clock: () => NOW }).presign({ url: 'https://api.test/a?b', expiresIn: 60 })`,
      )) as string,
    );
    expect(
      await judge(buildVerifier(), {
        method: 'GET',
        url: url.pathname + url.search,
        headers: { host: 'api.test' },
      }),
    ).toBe('accepted');
  });

  it('fetches relative to its page', async () => {
    const calls: [string, RequestInit][] = [];
    const fetch = async (...call: [string, RequestInit]) => {
      calls.push(call);
      return new Response('ok');
    };
    const page = openPage({ fetch, location: { href: 'https://api.test/app/' } });
    expect(
      await page(
        `client.createFetch({ credentials, audience, clock: () => NOW })('../VideoParser/', { method: 'POST', body: [1] }).then((it) => it.text())`,
      ),
    ).toBe('ok');
    const [url, { headers, body }] = calls[0] as [
      string,
      { headers: Record<string, string>; body: Uint8Array },
    ];
    expect(url).toBe('https://api.test/VideoParser/');
    expect(
      await judge(buildVerifier(), {
        method: 'POST',
        url: '/VideoParser/',
        headers: { ...headers, host: 'api.test' },
        body: Uint8Array.from(body),
      }),
    ).toBe('accepted');
  });
});
