import { standardWebhooks } from '@countersign/server/callbacks';
import { UsageError } from '../lib/errors.ts';
import type { Io } from '../terminal/io.ts';

/**
 * The secrets of callbacks, from the environment only: `ps` shows command lines to all users.
 *
 * @param use what they are for: a public key can only verify
 * @throws UsageError if there is none, or one cannot be used. The message holds no secret.
 */
export function callbackSecrets({ env }: Io, use: 'sign' | 'verify'): readonly string[] {
  const text = env['COUNTERSIGN_CALLBACK_SECRET'] ?? '';
  if (text === '')
    throw new UsageError(
      `Cannot ${use} callbacks without a secret: set COUNTERSIGN_CALLBACK_SECRET to whsec_…`,
    );
  const secrets = text.split(',');
  for (const secret of secrets) {
    const flaw = flawOf(secret, use);
    if (flaw !== undefined) throw new UsageError(`${flaw}; correct COUNTERSIGN_CALLBACK_SECRET`);
  }
  return secrets;
}

function flawOf(secret: string, use: 'sign' | 'verify'): string | undefined {
  try {
    const { sign } = standardWebhooks().parseKey(secret);
    return sign === undefined && use === 'sign'
      ? 'Cannot sign callbacks with a public key'
      : undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
