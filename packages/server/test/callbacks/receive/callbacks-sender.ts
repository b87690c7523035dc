import { randomBytes } from 'node:crypto';
import { standardWebhooks } from '@countersign/server/callbacks';

/** The time of every test: nothing here depends on the system's clock. */
export const NOW = 1_795_300_000;

export function newSecret(): string {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

/** The headers that a sender writes for a callback, signed with each of the secrets. */
export function signCallback(
  body: string | Uint8Array,
  {
    secrets,
    id = 'msg_1',
    signedAt = NOW,
  }: { secrets: readonly string[]; id?: string; signedAt?: number },
): Record<string, string> {
  const scheme = standardWebhooks();
  const content = scheme.content({ id, signedAt }, Buffer.from(body));
  const signatures = secrets.map((secret) => scheme.parseKey(secret).sign?.(content) ?? '');
  return scheme.write?.({ id, signedAt }, signatures) ?? {};
}
