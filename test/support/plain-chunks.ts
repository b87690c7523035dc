import { createHash } from 'node:crypto';
import { type BodyJudge, type Scheme, SignatureError } from '@countersign/shared';

/** A piece of a body, and what its signature says of the pieces before it. */
interface Chunk {
  readonly data: Uint8Array;
  readonly previous: Uint8Array;
}

const LONGEST_LINE = 1_100;
const LINE = /^([0-9a-f]{1,8});([0-9a-f]{2,})$/;

/** Each signature covers the one before it, so that chunks cannot change places. */
function stringToSign({ data, previous }: Chunk): Buffer {
  const hash = createHash('sha256').update(data).digest('hex');
  return Buffer.from(`plain-chunk\n${Buffer.from(previous).toString('hex')}\n${hash}`);
}

/**
 * Writes a body as `<length>;<signature>\n<bytes>` for each piece, lengths and signatures in hex. A
 * piece without bytes is the end.
 */
export const sealPlainBody: NonNullable<Scheme['sealBody']> = async function* (
  body,
  _request,
  _params,
  signature,
  key,
) {
  let previous = signature;
  async function seal(data: Uint8Array): Promise<Uint8Array> {
    previous = await key.sign(stringToSign({ data, previous }));
    const line = `${data.length.toString(16)};${Buffer.from(previous).toString('hex')}\n`;
    return Buffer.concat([Buffer.from(line), data]);
  }
  for await (const data of body) if (data.length > 0) yield await seal(data);
  yield await seal(new Uint8Array());
};

/** Verifies such a body while it arrives. */
export const openPlainBody: NonNullable<Scheme['openBody']> = (
  _request,
  _params,
  signature,
  key,
): BodyJudge => {
  let previous = signature;
  let rest = Buffer.alloc(0);
  let hasEnded = false;

  /** The next whole chunk of what has arrived. */
  function take(): { data: Buffer; own: Buffer } | undefined {
    const line = rest.indexOf('\n');
    if (line === -1 && rest.length > LONGEST_LINE) throw mismatch('its line is too long');
    if (line === -1) return undefined;
    const [, length, hex] = LINE.exec(rest.toString('latin1', 0, line)) ?? [];
    if (length === undefined || hex === undefined) throw mismatch('it has no length');
    const end = line + 1 + Number.parseInt(length, 16);
    if (rest.length < end) return undefined;
    const data = rest.subarray(line + 1, end);
    rest = rest.subarray(end);
    return { data, own: Buffer.from(hex, 'hex') };
  }

  return {
    headers: { 'content-encoding': undefined },
    push(bytes) {
      rest = Buffer.concat([rest, bytes]);
      const released: Uint8Array[] = [];
      while (!hasEnded) {
        const chunk = take();
        if (chunk === undefined) return released;
        const { data, own } = chunk;
        if (!key.verify(stringToSign({ data, previous }), own)) throw mismatch('it was changed');
        previous = own;
        if (data.length > 0) released.push(data);
        else hasEnded = true;
      }
      if (rest.length > 0) throw mismatch('more follows the end');
      return released;
    },
    end() {
      if (!hasEnded) throw mismatch('the body is cut short');
    },
  };
};

function mismatch(why: string): SignatureError {
  return new SignatureError('ERR_BODY_MISMATCH', `Cannot accept a chunk: ${why}`);
}
