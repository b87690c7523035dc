import { type HeadersInput, type SignableRequest, SignatureError } from '@countersign/shared';
import { describeAttempt, type Explanation } from './explanation.ts';
import type { Identity } from './identity.ts';
import { type BodySource, checkBody } from './steps/body.ts';
import { checkCoverage } from './steps/coverage.ts';
import { createFindKey, type FoundKey } from './steps/key.ts';
import { readSignature, type SchemedSignature } from './steps/mechanism.ts';
import { claimNonce } from './steps/nonce.ts';
import { readRequest } from './steps/request.ts';
import { checkSignature } from './steps/signature.ts';
import { checkWindow, lifetime } from './steps/window.ts';
import { parseVerifierOptions, type VerifierOptions } from './verifier-options.ts';

/** A request as a server received it. */
export interface ReceivedRequest {
  readonly method: string;
  /** The request target as it stands on the request line, such as `/VideoParser/?lang=en`. */
  readonly url: string;
  /** Raw pairs or `req.rawHeaders` where they can be had: in other forms duplicates are joined or gone. */
  readonly headers: HeadersInput;
  /** The body as it came over the wire; empty if not given. */
  readonly body?: Uint8Array | string | BodySource | undefined;
}

/** Says who signed a request, or why it is refused. */
export interface Verifier {
  /** The service whose requests are verified. */
  readonly audience: string;
  /**
   * Verifies a request and claims its nonce: the same request is refused from then on.
   *
   * @returns who signed it
   * @throws SignatureError with the code of the check that failed; see `docs/errors.md`
   */
  verify(request: ReceivedRequest): Promise<Identity>;
  /**
   * Says what would become of a request, and why, component by component. Claims no nonce. For developers and operators: it
   * shows what was signed, though no secret and no expected signature, and is not meant for callers.
   */
  explain(request: ReceivedRequest): Promise<Explanation>;
}

/** What the steps have seen so far, for an explanation. */
export interface Attempt {
  /** Unix seconds, when verification began. */
  readonly now: number;
  request?: SignableRequest;
  signed?: SchemedSignature;
  key?: FoundKey;
  claimed: boolean;
}

/**
 * Builds a verifier.
 *
 * @param options what to verify against; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used, and its value
 *
 * @example
 * ```ts
 * import { createVerifier, generateAccessKey, MemoryKeyStore, MemoryNonceStore } from '@countersign/server';
 *
 * const verifier = createVerifier({
 *   audience: 'video-api',
 *   keys: new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]),
 *   nonces: new MemoryNonceStore(),
 * });
 * const { code } = await verifier.verify({ method: 'GET', url: '/', headers: { host: 'api.test' } }).catch((error) => error);
 * console.assert(code === 'ERR_SIGNATURE_MISSING');
 * ```
 * @see docs/wire-format.md, "What a verifier checks, in this order"
 */
export function createVerifier(options: VerifierOptions): Verifier {
  const policy = parseVerifierOptions(options);
  const findKey = createFindKey(policy.keys, policy.audience);

  /** The steps, in their order: cheap before dear, and nothing is read, buffered or stored for strangers. */
  async function authenticate(attempt: Attempt, received: ReceivedRequest): Promise<Identity> {
    const { now } = attempt;
    const request = (attempt.request = readRequest(received, policy));
    const { scheme, params, signature } = (attempt.signed = readSignature(request, policy));
    checkWindow(params, policy, now);
    const key = (attempt.key = await findKey(scheme, params, now));
    checkCoverage(request, params, policy.signedHeaders);
    const accessKey = checkSignature(scheme.stringToSign(request, params), signature, key);
    await checkBody(received.body, params.bodyHash, params.signedAt + lifetime(params, policy) - now, policy.unsignedPayload);
    const { accessKeyId, audience, signedAt, nonce, signedHeaders } = params;
    return { accessKeyId, subject: accessKey.subject, scopes: accessKey.scopes, scheme: scheme.name, audience, signedAt, nonce, signedHeaders };
  }

  /** The last step, and the only one that changes something. */
  async function claim(attempt: Attempt): Promise<string | undefined> {
    const { params } = attempt.signed as SchemedSignature;
    if (params.expiresIn !== undefined && policy.presignedUrls !== 'once') return undefined;
    // The body may have taken its time: freshness is judged when the nonce is claimed.
    checkWindow(params, policy, policy.clock());
    const epoch = await claimNonce(policy.nonces, params, policy);
    attempt.claimed = true;
    return epoch;
  }

  return {
    audience: policy.audience,

    async verify(received) {
      const attempt: Attempt = { now: policy.clock(), claimed: false };
      try {
        const identity = await authenticate(attempt, received);
        return { ...identity, epoch: await claim(attempt) };
      } catch (error) {
        if (error instanceof SignatureError && policy.onRefused !== undefined) {
          tell(policy.onRefused, describeAttempt(attempt, policy, error));
        }
        throw error;
      }
    },

    async explain(received) {
      const attempt: Attempt = { now: policy.clock(), claimed: false };
      try {
        await authenticate(attempt, received);
        return describeAttempt(attempt, policy, undefined);
      } catch (error) {
        if (!(error instanceof SignatureError)) throw error;
        return describeAttempt(attempt, policy, error);
      }
    },
  };
}

/** A hook for logs must not decide what becomes of a request. */
function tell(onRefused: (explanation: Explanation) => void, explanation: Explanation): void {
  try {
    onRefused(explanation);
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error), { code: 'COUNTERSIGN_ON_REFUSED' });
  }
}
