import { runInNewContext } from 'node:vm';
import { createSigner, type SignableBody } from '@countersign/client';
import { EMPTY_SHA256, sha256Hex } from '@countersign/shared';
import { describe, expect, it } from 'vitest';
import { audience, clock, credentials, failure } from '../support.ts';

const signer = createSigner({ credentials, audience, clock });
const sign = (body: SignableBody, headers = {}) =>
  signer.sign({ method: 'POST', url: 'https://api.test/', headers, body });

/** A blob that records how it was read. */
class CountingBlob extends Blob {
  streams = 0;
  override stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.streams += 1;
    return super.stream();
  }
}

describe('prepareBody()', () => {
  it('declares the hash of the bytes that it gives back', async () => {
    const { headers, body } = await sign({ a: 'ü' });
    expect(body).toEqual(new TextEncoder().encode('{"a":"ü"}'));
    expect(headers['x-countersign-content-sha256']).toBe(sha256Hex(body as Uint8Array));
  });

  it('tells bodies apart that are not text', async () => {
    const hashes = await Promise.all(
      [0xff, 0xfe].map(
        async (byte) => (await sign(Uint8Array.of(byte))).headers['x-countersign-content-sha256'],
      ),
    );
    expect(new Set(hashes).size).toBe(2);
  });

  it('takes no body for an empty one', async () => {
    for (const body of [undefined, null]) {
      const signed = await sign(body);
      expect(signed.body).toBeUndefined();
      expect(signed.headers['x-countersign-content-sha256']).toBe(EMPTY_SHA256);
    }
  });

  it('leaves a Content-Type alone that the caller gave, even an empty one', async () => {
    for (const type of ['application/vnd.video+json', '']) {
      expect((await sign({ a: 1 }, { 'Content-Type': type })).headers['content-type']).toBe(type);
    }
  });

  it('hashes a Blob as a stream, in pieces, and gives it back unread', async () => {
    const blob = new CountingBlob([new Uint8Array(200_000), 'end']);
    const signed = await sign(blob);
    expect(signed.body).toBe(blob);
    expect(blob.streams).toBe(1);
    expect(signed.headers['x-countersign-content-sha256']).toBe(
      sha256Hex(Buffer.concat([Buffer.alloc(200_000), Buffer.from('end')])),
    );
  });

  it('does not read a body whose hash is declared', async () => {
    const blob = new CountingBlob(['x']);
    await sign(blob, { 'x-countersign-content-sha256': sha256Hex('x') });
    expect(blob.streams).toBe(0);
  });

  it('writes each form with a boundary of its own, once', async () => {
    const form = new FormData();
    form.append('a', 'b');
    const [one, two] = await Promise.all([sign(form), sign(form)]);
    expect(one?.headers['content-type']).not.toBe(two?.headers['content-type']);
    expect(new TextDecoder().decode(two?.body as Uint8Array)).toContain(
      String(two?.headers['content-type']).split('boundary=')[1],
    );
  });

  it('knows plain objects, bytes and arrays of another realm', async () => {
    const foreign = runInNewContext(
      '({ object: { a: 1 }, array: [1], bytes: Uint8Array.of(1, 2) })',
    ) as Record<'object' | 'array' | 'bytes', SignableBody>;
    expect((await sign(foreign.object)).headers['content-type']).toBe('application/json');
    expect((await sign(foreign.array)).body).toEqual(new TextEncoder().encode('[1]'));
    expect((await sign(foreign.bytes)).body).toEqual(Uint8Array.of(1, 2));
  });

  it('refuses an object that only calls itself a form', async () => {
    const error = await failure(sign({ [Symbol.toStringTag]: 'FormData' }));
    expect(error).toEqual(new TypeError('form is not iterable'));
  });

  it('fails with what a Blob fails with', async () => {
    const blob = Object.assign(new Blob(['x']), {
      stream: () => new ReadableStream({ pull: () => Promise.reject(new Error('disk gone')) }),
    });
    expect((await failure(sign(blob))).message).toBe('disk gone');
  });
});
