import type { CallbackScheme } from './callback-scheme.ts';
import { checkCount, splitHeader } from './signature-headers.ts';
import { textSecret } from './text-secret.ts';

const SIGNATURE = 'x-hub-signature-256';

/** A personal access token, or a token of an app. */
const TOKEN = /^(?:gh[a-z]|github_pat)_/;

const scheme: CallbackScheme = {
  name: 'github-webhooks',
  time: 'unsigned',
  parseKey: (text) => textSecret(text, { prefix: 'sha256=', others: TOKEN, sender: 'GitHub' }),

  read(headers) {
    const value = headers.get(SIGNATURE);
    if (value === undefined) return undefined;
    const signatures = checkCount(splitHeader(SIGNATURE, value, ' '), SIGNATURE);
    // `X-GitHub-Delivery` is not signed. An attacker who captured one delivery could send it again
    // under any number of ids.
    return { id: undefined, signedAt: undefined, signatures };
  },

  content: (_received, body) => body,
};

/**
 * Webhooks of GitHub: `X-Hub-Signature-256`. They can only be received.
 *
 * GitHub signs only the body: not `X-GitHub-Delivery`, not `X-GitHub-Event`, and no time. So the id
 * is a hash of the body. Use `once()` to recognize repetitions, and take the kind of event from the
 * body.
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
