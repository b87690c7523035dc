import { SignatureError } from '@countersign/shared';
import { bodyId } from './body-id.ts';
import type { CallbackScheme } from './callback-scheme.ts';
import { checkCount, parseSeconds, splitHeader } from './signature-headers.ts';
import { textSecret } from './text-secret.ts';

const SIGNATURE = 'stripe-signature';

/** A secret, restricted or publishable API key. */
const API_KEY = /^(?:sk|rk|pk)_/;

const scheme: CallbackScheme = {
  name: 'stripe-webhooks',
  parseKey: (text) => textSecret(text, { prefix: '', others: API_KEY, sender: 'Stripe' }),

  read(headers) {
    const value = headers.get(SIGNATURE);
    if (value === undefined) return undefined;
    const signatures: string[] = [];
    let time: string | undefined;
    for (const part of splitHeader(SIGNATURE, value, ',')) {
      const [name, text] = cut(part);
      if (name === 'v1') signatures.push(text);
      if (name !== 't') continue;
      // With two times, we could check one while the other was signed.
      if (time !== undefined)
        throw new SignatureError(
          'ERR_SIGNATURE_AMBIGUOUS',
          'The callback has two times: "t" twice',
        );
      time = text;
    }
    // Ignore other parts: `v0` is a signature for tests, which proves nothing.
    return {
      id: undefined,
      signedAt: parseSeconds('t', time),
      signatures: checkCount(signatures, SIGNATURE),
    };
  },

  content({ signedAt }, body) {
    return Buffer.concat([Buffer.from(`${signedAt}.`, 'utf8'), body]);
  },

  idOf: (body) => bodyId(body, 'id'),
};

/**
 * Webhooks of Stripe: `Stripe-Signature` with `t` and `v1`. They can only be received. The id is
 * the `id` of the event in the body.
 *
 * @example
 * ```ts
 * import { createCallbackVerifier, stripeWebhooks } from '@countersign/server/callbacks';
 *
 * const verifier = createCallbackVerifier({
 *   scheme: stripeWebhooks(),
 *   secrets: ['whsec_9Zq2vT7xLw4Rk8Nf'],
 * });
 * console.assert(verifier.sender === 'stripe-webhooks');
 * ```
 * @see https://docs.stripe.com/webhooks#verify-manually
 */
export function stripeWebhooks(): CallbackScheme {
  return scheme;
}

function cut(part: string): [name: string, text: string] {
  const at = part.indexOf('=');
  return at === -1 ? ['', part] : [part.slice(0, at), part.slice(at + 1)];
}
