/** A body as it is sent, and what a handler must see of it. */
export interface Message {
  readonly contentType: string;
  readonly bytes: Buffer;
  readonly seen: string;
}

/**
 * `large` is more than a stream buffers before it stops reading, and more than one window of
 * HTTP/2.
 */
export type Size = 'small' | 'large';

const textOf = (size: Size): string =>
  size === 'small' ? 'every byte' : 'every byte. '.repeat(7_000);

export function plainText(size: Size): Message {
  const seen = textOf(size);
  return { contentType: 'text/plain', bytes: Buffer.from(seen), seen };
}

export function binary(size: Size): Message {
  return { ...plainText(size), contentType: 'application/octet-stream' };
}

export function json(size: Size): Message {
  const seen = JSON.stringify({ filter: { id: 1, note: textOf(size) } });
  return { contentType: 'application/json', bytes: Buffer.from(seen), seen };
}

export function urlencoded(size: Size): Message {
  const seen = new URLSearchParams({ id: '1', note: textOf(size).replaceAll(' ', '-') }).toString();
  return { contentType: 'application/x-www-form-urlencoded', bytes: Buffer.from(seen), seen };
}

export function upload(size: Size): Message {
  const seen = textOf(size);
  const head = '--part\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n';
  const bytes = Buffer.from(`${head}${seen}\r\n--part--\r\n`);
  return { contentType: 'multipart/form-data; boundary=part', bytes, seen };
}
