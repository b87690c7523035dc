import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  ACCEPTED,
  addHeader,
  createApi,
  expectRefused,
  header,
  outcome,
  retarget,
  withHeader,
  withoutHeader,
} from '../support/api.ts';

const sha256 = (data: string | Uint8Array): string =>
  createHash('sha256').update(data).digest('hex');

describe('coverage', () => {
  it('V1: a signature cannot be moved to another method, path or authority', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({ ...request, method: 'DELETE' }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => ({ ...request, url: '/admin' }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
      withHeader(request, 'host', 'other.example.com'),
    );
  });

  it('V2: a header that the server acts on cannot be added', async () => {
    for (const name of [
      'x-countersign-epoch',
      'x-countersign-session-token',
      'x-countersign-anything',
      'X-Countersign-Copy-Source',
      'x-http-method-override',
      'content-encoding',
    ]) {
      await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) => addHeader(request, name, 'x'));
    }
    const { sign, verifier } = createApi({ signedHeaders: ['x-tenant'] });
    const request = await sign();
    expect(await outcome(verifier, addHeader(request, 'X-Tenant', 'acme'))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    expect(await outcome(verifier, request)).toBe(ACCEPTED);
  });

  it('V3: the body hash is compared with the body, and is signed', async () => {
    const evil = Buffer.from('{"videoUrl":"https://evil.example/"}');
    await expectRefused('ERR_BODY_MISMATCH', (request) => ({ ...request, body: evil }));
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
      withHeader({ ...request, body: evil }, 'x-countersign-content-sha256', sha256(evil)),
    );
    await expectRefused('ERR_SIGNATURE_MALFORMED', (request) =>
      withoutHeader(request, 'x-countersign-content-sha256'),
    );
  });

  it('V4: what must be covered cannot be appended to the list after signing', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) => {
      const authorization = header(request, 'authorization').replace(
        '-nonce,',
        '-nonce;x-http-method-override,',
      );
      return addHeader(
        withHeader(request, 'authorization', authorization),
        'x-http-method-override',
        'DELETE',
      );
    });
  });

  it('V5: every body is bound, whatever its content type', async () => {
    for (const contentType of [
      'text/plain',
      'application/octet-stream',
      'multipart/form-data; boundary=x',
      '',
    ]) {
      const { sign, verifier } = createApi();
      const request = await sign({ headers: { 'content-type': contentType }, body: 'a=1' });
      expect(await outcome(verifier, { ...request, body: Buffer.from('a=2') }), contentType).toBe(
        'ERR_BODY_MISMATCH',
      );
      expect(await outcome(verifier, { ...request, body: undefined }), contentType).toBe(
        'ERR_BODY_MISMATCH',
      );
      expect(await outcome(verifier, request), contentType).toBe(ACCEPTED);
    }
  });

  it('V6: bodies are bytes: 0xff and 0xfe differ, and JSON is not serialized again', async () => {
    const { sign, verifier } = createApi();
    const bytes = await sign({ body: new Uint8Array([0xff]) });
    expect(await outcome(verifier, { ...bytes, body: new Uint8Array([0xfe]) })).toBe(
      'ERR_BODY_MISMATCH',
    );
    expect(await outcome(verifier, bytes)).toBe(ACCEPTED);
    const json = await sign({ body: '{"a":1}' });
    expect(await outcome(verifier, { ...json, body: Buffer.from('{ "a": 1 }') })).toBe(
      'ERR_BODY_MISMATCH',
    );
  });

  it('V7: what describes the body cannot be changed around the signature', async () => {
    await expectRefused('ERR_SIGNATURE_MISMATCH', (request) =>
      withHeader(request, 'content-type', 'text/plain'),
    );
    await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) =>
      withoutHeader(request, 'content-type'),
    );
    await expectRefused('ERR_COMPONENT_NOT_COVERED', (request) =>
      addHeader(request, 'content-encoding', 'gzip'),
    );
    // Lengths and framing are not signed: the hash of the bytes that came is.
    await expectRefused('ERR_BODY_MISMATCH', (request) =>
      addHeader({ ...request, body: request.body?.slice(0, 5) }, 'content-length', '5'),
    );
  });

  it('V8: UNSIGNED-PAYLOAD is refused unless the server allows it by name', async () => {
    const unsigned = { headers: { 'x-countersign-content-sha256': 'UNSIGNED-PAYLOAD' } };
    const [strict, lax] = [createApi(), createApi({ unsignedPayload: 'accept-unsigned-bodies' })];
    expect(await outcome(strict.verifier, await strict.sign(unsigned))).toBe(
      'ERR_COMPONENT_NOT_COVERED',
    );
    expect(await outcome(lax.verifier, await lax.sign(unsigned))).toBe(ACCEPTED);
    const swapped = withHeader(
      await lax.sign(),
      'x-countersign-content-sha256',
      'UNSIGNED-PAYLOAD',
    );
    expect(await outcome(lax.verifier, swapped)).toBe('ERR_SIGNATURE_MISMATCH');
  });

  it('V10: two kinds of signature in one request are refused', async () => {
    const { sign, presign, verifier } = createApi();
    const signed = await sign({ method: 'GET', body: undefined });
    const presigned = await presign(60);
    for (const name of ['authorization', 'x-countersign-date', 'x-countersign-nonce']) {
      expect(await outcome(verifier, addHeader(presigned, name, header(signed, name))), name).toBe(
        'ERR_SIGNATURE_AMBIGUOUS',
      );
    }
    expect(await outcome(verifier, addHeader(presigned, 'authorization', 'Bearer x'))).toBe(
      'ERR_SIGNATURE_AMBIGUOUS',
    );
    for (const parameter of [
      'X-Countersign-Signature=0',
      'x-countersign-credential=x',
      'X-COUNTERSIGN-',
    ]) {
      expect(
        await outcome(
          verifier,
          retarget(signed, (target) => `${target}&${parameter}`),
        ),
        parameter,
      ).toBe('ERR_SIGNATURE_AMBIGUOUS');
    }
    expect(
      await outcome(
        verifier,
        retarget(presigned, (target) =>
          target.replace('?', '?X-Countersign-Date=20990101T000000Z&'),
        ),
      ),
    ).toBe('ERR_SIGNATURE_AMBIGUOUS');
    expect(await outcome(verifier, presigned)).toBe(ACCEPTED);
  });
});
