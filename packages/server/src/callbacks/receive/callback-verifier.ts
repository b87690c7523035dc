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

/** Verifies that a callback comes from its sender, or says why it is refused. */
export interface CallbackVerifier {
  /** The name of the scheme that is expected. */
  readonly scheme: string;
  /** The name of the sender. */
  readonly sender: string;
  /**
   * Verifies a callback. If `nonces` is given, it also claims what was signed: a copy is refused
   * from then on. An honest retry is signed again at another time, so it is accepted.
   *
   * @throws SignatureError with the code of the check that failed; see `docs/errors.md`
   */
  verify(received: CallbackRequest): Promise<CallbackIdentity>;
}

/**
 * Builds a verifier of callbacks (webhooks).
 *
 * @param options see {@link CallbackVerifierOptions}
 * @throws TypeError or RangeError that names the option that cannot be used
 *
 * @example
 * ```ts
 * import { createCallbackVerifier, standardWebhooks } from '@countersign/server/callbacks';
 *
 * const secret = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';
 * const verifier = createCallbackVerifier({ secrets: [secret] });
 *
 * // The sender does this.
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
   * The steps in order. The body of a malformed or stale callback is not read, and nothing is
   * stored for one that is not signed correctly.
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
      throw storeFailed('key', cause, 'The secrets cannot be looked up');
    }
    const bytes = await readBody(body, (received.signedAt ?? now) + settings.window - now);
    const content = scheme.content(received, bytes);
    const owner = checkSignature(keys, content, received.signatures);
    // The body may have arrived slowly.
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

/** The checks state what is allowed, so a time that is not a number is refused too. */
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
      `The callback was signed ${Math.floor(age)} s ago, ${settings.window} s are allowed: sign every attempt again, or set the clocks right`,
    );
  }
}

async function readBody(body: CallbackRequest['body'], seconds: number): Promise<Uint8Array> {
  if (body === undefined) return new Uint8Array(0);
  if (typeof body === 'string') return encodeUtf8(body);
  if (body instanceof Uint8Array) return body;
  if (typeof (body as Partial<typeof body> | null)?.bytes === 'function')
    return body.bytes(seconds);
  // A parser has probably run. Serialized again, the body may have other bytes.
  throw new TypeError(
    'Cannot verify callback: expected its body as bytes or text, as it came over the wire',
  );
}

/**
 * Tries each key, also after one was right. So the time does not show which one it was.
 *
 * @returns the id of the secret that the callback is signed with
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
 * Claims what was signed, not the signatures. During a rotation a callback has two. An attacker
 * could leave one out, and the rest would look like a new callback.
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
      // No audience of a request contains a slash, so a request can never use up the nonce of a
      // callback.
      audience: `callback/${scheme.name}`,
      accessKeyId: sender,
      nonce: digest.toString('base64url', 0, 16),
      // The owner is the secret, not the name: senders with different secrets may share a name.
      owner,
      signedAt,
      acceptableFrom: signedAt - ahead,
      acceptableUntil: signedAt + window,
    });
  } catch (cause) {
    throw storeFailed('nonce', cause);
  }
  // Senders do not know epochs. They try again by themselves, later and with a new signature. That
  // is enough.
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
