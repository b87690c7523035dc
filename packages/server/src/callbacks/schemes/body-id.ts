const VALID_ID = /^[!-~]{1,256}$/;

/** Reads an id from a signed body: a field of its JSON object. `undefined` if there is none. */
export function bodyId(body: Uint8Array, name: string): string | undefined {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8'));
  } catch {
    // Not every callback is JSON: Slack sends its commands as forms.
    return undefined;
  }
  if (typeof json !== 'object' || json === null || !Object.hasOwn(json, name)) return undefined;
  const id = (json as Record<string, unknown>)[name];
  return typeof id === 'string' && VALID_ID.test(id) ? id : undefined;
}
