import { bodyId } from './body-id.ts';
import type { CallbackScheme } from './callback-scheme.ts';
import { checkCount, parseSeconds, splitHeader } from './signature-headers.ts';
import { textSecret } from './text-secret.ts';

const TIMESTAMP = 'x-slack-request-timestamp';
const SIGNATURE = 'x-slack-signature';

/** A token of a bot, a user or an app. */
const TOKEN = /^(?:xox[a-z.]*|xapp)-/;

const scheme: CallbackScheme = {
  name: 'slack-webhooks',
  parseKey: (text) => textSecret(text, { prefix: 'v0=', others: TOKEN, sender: 'Slack' }),

  read(headers) {
    const value = headers.get(SIGNATURE);
    if (value === undefined) return undefined;
    const signatures = checkCount(splitHeader(SIGNATURE, value, ' '), SIGNATURE);
    const signedAt = parseSeconds(TIMESTAMP, headers.get(TIMESTAMP));
    return { id: undefined, signedAt, signatures };
  },

  content({ signedAt }, body) {
    return Buffer.concat([Buffer.from(`v0:${signedAt}:`, 'utf8'), body]);
  },

  idOf: (body) => bodyId(body, 'event_id'),
};

/**
 * Requests of Slack: `X-Slack-Signature` (`v0`) and `X-Slack-Request-Timestamp`. They can only be
 * received. In the Events API the body has an `event_id`, which becomes the id. For commands and
 * interactions the id is a hash of what is signed.
 *
 * @example
 * ```ts
 * import { createCallbackVerifier, slackWebhooks } from '@countersign/server/callbacks';
 *
 * const verifier = createCallbackVerifier({
 *   scheme: slackWebhooks(),
 *   secrets: ['8f742231b10e8888abcd99yyyzzz85a5'],
 * });
 * console.assert(verifier.sender === 'slack-webhooks');
 * ```
 * @see https://docs.slack.dev/authentication/verifying-requests-from-slack
 */
export function slackWebhooks(): CallbackScheme {
  return scheme;
}
