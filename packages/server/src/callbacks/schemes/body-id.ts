const VALID_ID = /^[!-~]{1,256}$/;

/** An id that stands in a signed body, as a field of the JSON object that the body is. */
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
