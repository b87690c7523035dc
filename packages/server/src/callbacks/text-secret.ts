import { createHmac, createSecretKey } from 'node:crypto';
import { findSecretFlaw } from '@countersign/shared';
import type { CallbackKey } from './callback-scheme.ts';
import { isAmong } from './signature-headers.ts';

/**
 * A secret whose characters are the key themselves, for formats that write HMAC-SHA256 in hex.
 *
 * @param prefix what stands before the hex
 * @throws TypeError where anybody could guess it; it is never part of the message
 */
export function textSecret(text: string, prefix: string): CallbackKey {
  const flaw = findSecretFlaw(text);
  if (flaw !== undefined) throw new TypeError(`Cannot read callback key: ${flaw}`);
  const secret = createSecretKey(Buffer.from(text, 'utf8'));
  const sign = (content: Uint8Array): string =>
    prefix + createHmac('sha256', secret).update(content).digest('hex');
  return { sign, verify: (content, signatures) => isAmong(sign(content), signatures) };
}
