import { hash } from 'node:crypto';
import { encodeUtf8, quote, SignatureError } from '@countersign/shared';
import { callHook } from '../../lib/call-hook.ts';
import { formatClientAddress } from '../../lib/format-client-address.ts';
import { checkClaim } from '../../verify/claim-nonce.ts';
import type { ClaimOutcome } from '../../verify/nonce-store.ts';
import { readFields } from '../../verify/read-request.ts';
import { storeFailed } from '../../verify/store-failed.ts';
import type { ReceivedCallback } from '../schemes/callback-scheme.ts';
import type { CallbackIdentity, CallbackRequest } from './callback-identity.ts';
import { createCallbackKeys, type NamedCallbackKey } from './callback-keys.ts';
import {
  type CallbackSettings,
  type CallbackVerifierOptions,
  parseCallbackOptions,
} from './callback-verifier-options.ts';
import { keepScopes } from './once-scopes.ts';

/** Says whether a callback is its sender's, or why it is refused. */
export interface CallbackVerifier {
  /** The name of the form that is expected. */
  readonly scheme: string;
  /** Whose callbacks these are. */
  readonly sender: string;
  /**
   * Verifies a callback and, where there are `nonces`, claims its signature: the same one is
   * refused from then on, while an honest retry, which is signed anew, is not.
   *
   * @throws SignatureError with the code of the check that failed; see `docs/errors.md`
   */
  verify(received: CallbackRequest): Promise<CallbackIdentity>;
}

/**
 * Builds a verifier of callbacks (webhooks).
 *
 * @param options what to verify against; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used
 *
 * @example
 * ```ts
 * import { createCallbackVerifier, standardWebhooks } from '@countersign/server/callbacks';
 *
 * const secret = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';
 * const verifier = createCallbackVerifier({ secrets: [secret] });
 *
 * // What a sender does.
 * const scheme = standardWebhooks();
 * const body = new TextEncoder().encode('{"type":"video.parsed"}');
 * const params = { id: 'msg_1', signedAt: Math.floor(Date.now() / 1000) };
 * const signature = scheme.parseKey(secret).sign?.(scheme.content(params, body)) ?? '';
 * const headers = scheme.write?.(params, [signature]) ?? {};
 *
 * const callback = await verifier.verify({ headers, body });
 * console.assert(callback.id === 'msg_1' && JSON.parse(callback.text()).type === 'video.parsed');
 * ```
 * @see docs/callbacks.md
 */
export function createCallbackVerifier(options: CallbackVerifierOptions): CallbackVerifier {
  const settings = parseCallbackOptions(options);
  const { scheme, sender, clock, onRefused } = settings;
  const keysOfNow = createCallbackKeys(settings);

  /**
   * The steps, in their order: nothing is read for what is malformed or stale, and nothing is
   * stored for strangers.
   */
  async function run(
    { headers, parsedHeaders, body }: CallbackRequest,
    recordCallback: (received: ReceivedCallback) => void,
  ): Promise<CallbackIdentity> {
    const received = scheme.read(readFields(headers, parsedHeaders, settings));
    if (received === undefined)
      throw new SignatureError(
        'ERR_SIGNATURE_MISSING',
        `The callback is not signed: expected the headers of ${scheme.name}`,
      );
    recordCallback(received);
    const now = clock();
    checkWindow(received, settings, now);
    let keys: readonly NamedCallbackKey[];
    try {
      keys = await keysOfNow();
    } catch (cause) {
      throw storeFailed('key', cause, 'The secrets cannot be had');
    }
    const bytes = await readBody(body, (received.signedAt ?? now) + settings.window - now);
    const content = scheme.content(received, bytes);
    const owner = checkSignature(keys, content, received.signatures);
    // The body may have taken its time.
    checkWindow(received, settings, clock());
    const digest = hash('sha256', content, 'buffer');
    await claim(received, digest, owner, settings);
    const { signedAt } = received;
    const id = received.id ?? scheme.idOf?.(bytes) ?? `sha256-${digest.toString('base64url')}`;
    const text = (): string => strictUtf8.decode(bytes);
    const callback = { id, signedAt, scheme: scheme.name, sender, body: bytes, text };
    keepScopes(callback, { inForce: keys.map((key) => key.id), signer: owner });
    return callback;
  }

  return {
    scheme: scheme.name,
    sender,

    async verify(request) {
      let received: ReceivedCallback | undefined;
      try {
        return await run(request, (it) => {
          received = it;
        });
      } catch (error) {
        if (error instanceof SignatureError && onRefused !== undefined) {
          const { code, message } = error;
          const { id, signedAt } = received ?? {};
          const refusal = {
            code,
            message,
            scheme: scheme.name,
            sender,
            id,
            signedAt,
            clientAddress: formatClientAddress(request.clientAddress),
          };
          callHook(onRefused, refusal, 'COUNTERSIGN_ON_REFUSED');
        }
        throw error;
      }
    },
  };
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** In the positive, so that a time that is no number refuses too. */
function checkWindow(
  { signedAt }: ReceivedCallback,
  settings: CallbackSettings,
  now: number,
): void {
  if (settings.scheme.time === 'unsigned') return;
  const age = now - (signedAt ?? Number.NaN);
  if (!(age >= -settings.ahead)) {
    throw new SignatureError(
      'ERR_SIGNATURE_NOT_YET_VALID',
      `The callback is dated ${Math.ceil(-age)} s ahead of this server's clock, ${settings.ahead} s are allowed: set the clocks right`,
    );
  }
  if (!(age <= settings.window)) {
    throw new SignatureError(
      'ERR_SIGNATURE_EXPIRED',
      `The callback was signed ${Math.floor(age)} s ago, ${settings.window} s are allowed: sign every attempt anew`,
    );
  }
}

async function readBody(body: CallbackRequest['body'], seconds: number): Promise<Uint8Array> {
  if (body === undefined) return new Uint8Array(0);
  if (typeof body === 'string') return encodeUtf8(body);
  if (body instanceof Uint8Array) return body;
  if (typeof (body as Partial<typeof body> | null)?.bytes === 'function')
    return body.bytes(seconds);
  // Most likely what a parser made of it: written out anew it has other bytes.
  throw new TypeError(
    'Cannot verify callback: expected its body as bytes or text, as it came over the wire',
  );
}

/**
 * Each key is tried, whichever was right: how long it takes does not tell.
 *
 * @returns the name of a secret that the callback is signed with
 */
function checkSignature(
  keys: readonly NamedCallbackKey[],
  content: Uint8Array,
  signatures: readonly string[],
): string {
  let found: string | undefined;
  for (const { key, id } of keys) if (key.verify(content, signatures)) found ??= id;
  if (found !== undefined) return found;
  throw new SignatureError(
    'ERR_SIGNATURE_MISMATCH',
    'No signature of the callback matches: compare the secret, and verify the body as it came over the wire',
  );
}

/**
 * Claims what was signed. That is what tells one signature from another: of the signatures of a
 * rotation somebody could leave out one, and the rest would look like a new callback.
 */
async function claim(
  { signedAt }: ReceivedCallback,
  digest: Buffer,
  owner: string,
  { nonces, scheme, sender, ahead, window }: CallbackSettings,
): Promise<void> {
  if (nonces === undefined || signedAt === undefined) return;
  let answer: ClaimOutcome;
  try {
    answer = await nonces.claim({
      // No access key is verified for an audience with a slash: a request can never use up the
      // nonce of a callback.
      audience: `callback/${scheme.name}`,
      accessKeyId: sender,
      nonce: digest.toString('base64url', 0, 16),
      // By the secret, not the name: senders with secrets of their own may have one name.
      owner,
      signedAt,
      acceptableFrom: signedAt - ahead,
      acceptableUntil: signedAt + window,
    });
  } catch (cause) {
    throw storeFailed('nonce', cause);
  }
  // Senders know nothing of epochs. They try again by themselves, later and signed anew: all that
  // is needed.
  if ((answer as ClaimOutcome | undefined)?.outcome === 'uncertain') {
    const { retryAfter } = answer as { readonly retryAfter: number };
    throw new SignatureError(
      'ERR_NONCE_STORE_FAILED',
      'The nonce store cannot vouch for the time of this callback yet: its sender has to try again',
      { retryAfter: Math.max(1, Number(retryAfter) || 1) },
    );
  }
  checkClaim(answer, `callback sender ${quote(sender)}`);
}
