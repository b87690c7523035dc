import { createHmac, createSecretKey } from 'node:crypto';
import { findSecretFlaw } from '@countersign/shared';
import type { CallbackKey } from './callback-scheme.ts';
import { isAmong } from './signature-headers.ts';

/**
 * Reads a secret whose characters are the key, for formats that write HMAC-SHA256 in hex.
 *
 * @param form the prefix of the hex; and how other secrets of the same sender begin, which do not
 * sign callbacks
 * @throws TypeError if the text cannot be the secret, or could be guessed; the message never shows
 * it
 */
export function textSecret(
  text: string,
  { prefix, others, sender }: { prefix: string; others: RegExp; sender: string },
): CallbackKey {
  const flaw = findSecretFlaw(text) ?? (others.test(text) ? isOther(sender) : undefined);
  if (flaw !== undefined) throw new TypeError(`Cannot read callback key: ${flaw}`);
  const secret = createSecretKey(Buffer.from(text, 'utf8'));
  const sign = (content: Uint8Array): string =>
    prefix + createHmac('sha256', secret).update(content).digest('hex');
  return { sign, verify: (content, signatures) => isAmong(sign(content), signatures) };
}

function isOther(sender: string): string {
  return `it is a key for the API of ${sender}, expected the secret that its webhooks are signed with`;
}
