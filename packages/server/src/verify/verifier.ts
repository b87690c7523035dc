import {
  type HeadersInput,
  kindOf,
  quote,
  type RefusalReason,
  SignatureError,
} from '@countersign/shared';
import { callHook, watchPromise } from '../lib/call-hook.ts';
import { type Attempt, goOn, newAttempt } from './attempt.ts';
import { checkBody, hashUndeclared, type ReceivedBody } from './check-body.ts';
import { checkChunks } from './check-chunks.ts';
import { checkCoverage } from './check-coverage.ts';
import { failureRefusal, recordFailure } from './check-failures.ts';
import { checkSessionBegin } from './check-session-begin.ts';
import { checkSignature } from './check-signature.ts';
import { checkWindow } from './check-window.ts';
import { type AnyKey, createChooseKey } from './choose-key.ts';
import { checkClaim, nameRequest, nonceClaim } from './claim-nonce.ts';
import { describeAttempt } from './describe-attempt.ts';
import type { Explanation } from './explanation.ts';
import type { Identity } from './identity.ts';
import type { ClaimOutcome } from './nonce-store.ts';
import { readRequest } from './read-request.ts';
import { readSignature } from './read-signature.ts';
import { storeFailed } from './store-failed.ts';
import { parseVerifierOptions, type VerifierOptions } from './verifier-options.ts';

/** A request as a server received it. */
export interface ReceivedRequest {
  readonly method: string;
  /** The request target as it stands on the request line, such as `/VideoParser/?lang=en`. */
  readonly url: string;
  /** Raw pairs or `req.rawHeaders` where they can be had: in other forms duplicates are joined or gone. */
  readonly headers: HeadersInput;
  /**
   * The header fields as the application reads them, such as `req.headers`, if it reads another
   * form than `headers`: a field that is not among them is refused. Node leaves out of
   * `req.headers` what exceeds `server.maxHeadersCount`, and joins or drops duplicates.
   */
  readonly parsedHeaders?: Readonly<Record<string, unknown>> | undefined;
  /** The host of the URL that the application reads, if it reads one: it must be that of `Host`, unless `publicOrigin` is set. */
  readonly urlHost?: string | undefined;
  /** The body as it came over the wire; empty if not given. */
  readonly body?: ReceivedBody;
  /**
   * The network address of the caller, which failures are limited by. Not what a header says, unless a proxy of one's own has
   * written it. Where it is not known nothing is limited.
   */
  readonly clientAddress?: string | undefined;
}

/** Says who signed a request, or why it is refused. */
export interface Verifier {
  /** The service whose requests are verified. */
  readonly audience: string;
  /** What `WWW-Authenticate` says of a refusal: a challenge of each scheme. Of our own scheme if not given. */
  readonly challenge?: ((reason: RefusalReason) => string) | undefined;
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

/** If the body took longer, the key is looked up and checked again. */
const MAX_BODY_SECONDS_WITHOUT_KEY_CHECK = 1;

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
  const settings = parseVerifierOptions(options);
  const chooseKey = createChooseKey(settings.audience);

  async function lookUp(accessKeyId: string, scope: string, sessionToken: string | undefined) {
    try {
      if (sessionToken === undefined) return await settings.keys.find(accessKeyId, scope);
      return await settings.sessions?.find(sessionToken);
    } catch (cause) {
      throw storeFailed('key', cause);
    }
  }

  /** Of a request that is refused, the body may still pass, and prove wrong: it is reported once. */
  function report(attempt: Attempt, error: SignatureError): void {
    if (settings.onRefused === undefined || attempt.isReported) return;
    attempt.isReported = true;
    const explanation = describeAttempt(attempt, settings, error);
    callHook(settings.onRefused, explanation, 'COUNTERSIGN_ON_REFUSED');
  }

  /** The steps, in their order: cheap before dear, and nothing is read, buffered or stored for strangers. */
  async function run(
    attempt: Attempt,
    received: ReceivedRequest,
    claims: boolean,
  ): Promise<Identity> {
    const { now } = attempt;
    if (typeof received !== 'object' || received === null)
      throw new TypeError(
        `Cannot verify request: expected { method, url, headers }, got ${kindOf(received)}`,
      );
    attempt.clientAddress = received.clientAddress;
    // An application may look it up by a promise, which is no address.
    watchPromise(received.clientAddress, 'COUNTERSIGN_CLIENT_ADDRESS');
    const request = readRequest(received, settings);
    attempt.request = request;
    const signed = readSignature(request, settings);
    attempt.signed = signed;
    const { scheme, params, signature } = signed;
    goOn(attempt, 'time');
    checkWindow(params, settings, now);
    goOn(attempt, 'failures');
    const blocked = failureRefusal(settings.failures, received.clientAddress, params);
    // Not thrown: that would take V8 as long as all the steps so far, and somebody who guesses is refused here each time.
    if (blocked !== undefined) return Promise.reject(blocked);
    goOn(attempt, 'coverage');
    checkCoverage(request, params, settings.signedHeaders);
    const { body: claim } = params;
    if (claim === undefined) {
      goOn(attempt, 'body');
      attempt.bodyHash = await hashUndeclared(received.body, params, settings, now);
    }
    goOn(attempt, 'key');
    const stringToSign = scheme.stringToSign(request, params, attempt.bodyHash);
    const scope = scheme.derive?.scope(params) ?? '';
    const { sessionToken } = params;
    const found = await lookUp(params.accessKeyId, scope, sessionToken);
    const key = chooseKey(found, scheme, params, scope, now);
    attempt.key = key;
    // Others may have failed while the key was looked up: a hundred guesses at once are a hundred guesses.
    const blockedMeanwhile = failureRefusal(settings.failures, received.clientAddress, params);
    if (blockedMeanwhile !== undefined) {
      attempt.check = 'failures';
      throw blockedMeanwhile;
    }
    // What is wrong with a key is said together with the signature.
    if (key.flaw === undefined) goOn(attempt, 'signature');
    let accessKey: AnyKey;
    try {
      accessKey = checkSignature(stringToSign, signature, params.accessKeyId, key);
    } catch (error) {
      if (claims) recordFailure(settings.failures, received.clientAddress, params);
      throw error;
    }
    if (claim !== undefined) goOn(attempt, 'body');
    const onMismatch = (error: SignatureError): void => {
      attempt.check = 'body';
      if (claims) report(attempt, error);
    };
    const { body } = received;
    let reading: Promise<void> | void;
    if (claim === undefined) reading = undefined;
    else if (claim === 'chunks') {
      const head = { request, signed, verifyKey: key.verifyKey };
      reading = checkChunks(body, head, settings, now, onMismatch);
    } else reading = checkBody(body, claim, params, settings, now, onMismatch);
    if (reading !== undefined) {
      await reading;
      const later = settings.clock();
      // An attacker who has stolen a key could send the headers, and the body after the key was revoked or replaced.
      if (!(later - now <= MAX_BODY_SECONDS_WITHOUT_KEY_CHECK)) {
        goOn(attempt, 'key');
        const found = await lookUp(params.accessKeyId, scope, sessionToken);
        const present = chooseKey(found, scheme, params, scope, later);
        accessKey = checkSignature(stringToSign, signature, params.accessKeyId, present);
      }
    }
    // The body may have taken its time: freshness is judged when the nonce is claimed.
    goOn(attempt, 'time');
    checkWindow(params, settings, settings.clock());
    const name = nameRequest(params, stringToSign, settings.audience);
    let epoch: string | undefined;
    // The form decides, never an expiry: headers of some schemes have one too.
    const reusable = params.inUrl === true && settings.presignedUrls !== 'once';
    if (claims && !reusable) {
      goOn(attempt, 'nonce');
      let answer: ClaimOutcome;
      try {
        answer = await settings.nonces.claim(nonceClaim(params, name, accessKey, settings));
      } catch (cause) {
        throw storeFailed('nonce', cause);
      }
      epoch = checkClaim(answer, `subject ${quote(accessKey.subject)}`);
    }
    goOn(attempt, 'time');
    checkSessionBegin(accessKey, settings, settings.clock());
    attempt.passed.push('time');
    const { accessKeyId, signedAt, signedHeaders } = params;
    const { audience, nonce } = name;
    const { subject, scopes, expiresAt, session } = accessKey;
    // A session is in no store; what it was lent out on may be.
    const used = session === undefined ? accessKeyId : session.parent;
    if (claims && used !== undefined)
      callHook(
        (id) => settings.keys.recordUse?.(id, now),
        used,
        'COUNTERSIGN_KEY_USE_NOT_RECORDED',
      );
    return {
      accessKeyId,
      subject,
      scopes,
      scheme: scheme.name,
      audience,
      signedAt,
      nonce,
      signedHeaders,
      host: request.headers.get('host') as string,
      bodySigned: claim !== 'unsigned',
      reusable,
      epoch,
      expiresAt,
      session,
    };
  }

  return {
    audience: settings.audience,

    challenge: (reason) =>
      settings.schemes.map((scheme) => scheme.challenge(settings.audience, reason)).join(', '),

    verify(received) {
      const attempt = newAttempt(settings.clock());
      const verification = run(attempt, received, true);
      if (settings.onRefused === undefined) return verification;
      return verification.catch((error) => {
        if (error instanceof SignatureError) report(attempt, error);
        throw error;
      });
    },

    async explain(received) {
      const attempt = newAttempt(settings.clock());
      try {
        await run(attempt, received, false);
        return describeAttempt(attempt, settings, undefined);
      } catch (error) {
        if (!(error instanceof SignatureError)) throw error;
        return describeAttempt(attempt, settings, error);
      }
    },
  };
}
