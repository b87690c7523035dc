import type { CallbackScheme } from './callback-scheme.ts';
import { checkCount, splitHeader } from './signature-headers.ts';
import { textSecret } from './text-secret.ts';

const SIGNATURE = 'x-hub-signature-256';

/** A personal access token, or one of an app. */
const TOKEN = /^(?:gh[a-z]|github_pat)_/;

const scheme: CallbackScheme = {
  name: 'github-webhooks',
  time: 'unsigned',
  parseKey: (text) => textSecret(text, { prefix: 'sha256=', others: TOKEN, sender: 'GitHub' }),

  read(headers) {
    const value = headers.get(SIGNATURE);
    if (value === undefined) return undefined;
    const signatures = checkCount(splitHeader(SIGNATURE, value, ' '), SIGNATURE);
    // `X-GitHub-Delivery` is not signed: whoever captured one delivery could send it again under as
    // many ids as they like.
    return { id: undefined, signedAt: undefined, signatures };
  },

  content: (_received, body) => body,
};

/**
 * Webhooks of GitHub: `X-Hub-Signature-256`. To receive them only.
 *
 * GitHub signs the body and nothing else: neither `X-GitHub-Delivery` nor `X-GitHub-Event`, and no
 * time. Their id is therefore a hash of what is signed; let `once()` tell repetitions, and the body
 * what kind of event it is.
 *
 * @example
 * ```ts
 * import { createCallbackVerifier, githubWebhooks } from '@countersign/server/callbacks';
 *
 * const verifier = createCallbackVerifier({
 *   scheme: githubWebhooks(),
 *   secrets: ['9Zq2vT7xLw4Rk8Nf'],
 * });
 * console.assert(verifier.sender === 'github-webhooks');
 * ```
 * @see https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
 */
export function githubWebhooks(): CallbackScheme {
  return scheme;
}
