import { kindOf, quote, type RefusalReason, SignatureError } from '@countersign/shared';
import { callHook, watchPromise } from '../lib/call-hook.ts';
import { type Attempt, goOn, newAttempt } from './attempt.ts';
import { checkBody, hashUndeclared } from './check-body.ts';
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
import type { ReceivedRequest } from './received-request.ts';
import { storeFailed } from './store-failed.ts';
import { parseVerifierOptions, type VerifierOptions } from './verifier-options.ts';

/** Says who signed a request, or why it is refused. */
export interface Verifier {
  /** The service whose requests are verified. */
  readonly audience: string;
  /**
   * Makes the value of `WWW-Authenticate` for a refusal: one challenge for each scheme. If not
   * given, the challenge of our own scheme.
   */
  readonly challenge?: ((reason: RefusalReason) => string) | undefined;
  /**
   * Verifies a request and claims its nonce: the same request is refused from then on.
   *
   * @returns who signed it
   * @throws SignatureError with the code of the check that failed; see `docs/errors.md`
   */
  verify(request: ReceivedRequest): Promise<Identity>;
  /**
   * Explains whether a request would be accepted, and why, component by component. It claims no
   * nonce. The explanation is for developers and operators, not for callers: it shows what was
   * signed, but no secret and no expected signature.
   */
  explain(request: ReceivedRequest): Promise<Explanation>;
}

/** If reading the body takes longer, the verifier looks up the key again and checks it. */
const MAX_BODY_SECONDS_WITHOUT_KEY_CHECK = 1;

/**
 * Builds a verifier.
 *
 * @param options what to verify against; durations in seconds
 * @throws TypeError or RangeError naming the option that cannot be used, and its value
 *
 * @example
 * ```ts
 * import {
 *   createVerifier,
 *   generateAccessKey,
 *   MemoryKeyStore,
 *   MemoryNonceStore,
 * } from '@countersign/server';
 *
 * const verifier = createVerifier({
 *   audience: 'video-api',
 *   keys: new MemoryKeyStore([generateAccessKey({ subject: 'alice' })]),
 *   nonces: new MemoryNonceStore(),
 * });
 * const request = { method: 'GET', url: '/', headers: { host: 'api.test' } };
 * const { code } = await verifier.verify(request).catch((error) => error);
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

  /**
   * Reports only the first refusal of a request. Its streamed body may fail after it was refused
   * for another reason.
   */
  function report(attempt: Attempt, error: SignatureError): void {
    if (settings.onRefused === undefined || attempt.isReported) return;
    attempt.isReported = true;
    const explanation = describeAttempt(attempt, settings, error);
    callHook(settings.onRefused, explanation, 'COUNTERSIGN_ON_REFUSED');
  }

  /**
   * The checks, in their order. Three rules make the order:
   *
   * - Cheap checks come first, so that a flood of bad requests costs little.
   * - Until the signature is verified, the caller is a stranger. The server does not read a
   *   stranger's body, and stores nothing for a stranger but the count of failures.
   * - The nonce is claimed after all checks but one (11), because a claim cannot be undone.
   *
   * The checks:
   *
   * 1. Syntax: the server reads the request and finds exactly one signature.
   * 2. Time: the request is neither too old nor dated too far ahead.
   * 3. Failures: not too many signatures from this client address have failed.
   * 4. Coverage: the signature covers everything that the application acts on.
   * 5. Body hash: only if the request does not declare the hash, and `undeclaredBody` allows that.
   *    The string to sign needs the hash, so this is the one case in which a stranger's body is
   *    read.
   * 6. Key: it is looked up. If there is no such key, or it cannot verify this signature, a decoy
   *    takes its place. So an attacker cannot tell an unknown key from a wrong signature. Then the
   *    failures are checked again.
   * 7. Signature. If a decoy was used, it never matches. Only here does the attempt end with what
   *    is wrong with the key, such as that it is expired: the operator sees it, and the caller does
   *    not.
   * 8. Body: its bytes have the signed hash. If that took long, the key is checked again.
   * 9. Time again, because the body may have arrived slowly.
   * 10. Nonce: no earlier request had it.
   * 11. The session has begun, reported as `time`. It comes after the nonce, so that a captured
   *     copy of a request that was refused here is not accepted when the session begins.
   *
   * @param claims false for an explanation, which claims no nonce and counts no failure
   */
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
    // An application may give a promise of an address by mistake. Its rejection must not end the
    // process.
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
    // In V8 a throw takes as long as all checks so far. An attacker who guesses signatures reaches
    // this line with each guess, so the refusal is not thrown.
    if (blocked !== undefined) return Promise.reject(blocked);
    goOn(attempt, 'coverage');
    checkCoverage(request, params, settings.signedHeaders);
    const { body: declared } = params;
    if (declared === undefined) {
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
    // Other requests may have failed during the look-up. Without this second check an attacker
    // could send a hundred guesses at once, and all would be verified.
    const blockedMeanwhile = failureRefusal(settings.failures, received.clientAddress, params);
    if (blockedMeanwhile !== undefined) {
      attempt.check = 'failures';
      throw blockedMeanwhile;
    }
    // If the key has a flaw, the failed check is reported as `key`, not as `signature`.
    if (key.flaw === undefined) goOn(attempt, 'signature');
    let accessKey: AnyKey;
    try {
      accessKey = checkSignature(stringToSign, signature, params.accessKeyId, key);
    } catch (error) {
      if (claims) recordFailure(settings.failures, received.clientAddress, params);
      throw error;
    }
    if (declared !== undefined) goOn(attempt, 'body');
    const onMismatch = (error: SignatureError): void => {
      attempt.check = 'body';
      if (claims) report(attempt, error);
    };
    const { body } = received;
    let reading: Promise<void> | void;
    if (declared === undefined) reading = undefined;
    else if (declared === 'chunks') {
      const head = { request, signed, verifyKey: key.verifyKey };
      reading = checkChunks(body, head, settings, now, onMismatch);
    } else reading = checkBody(body, declared, params, settings, now, onMismatch);
    if (reading !== undefined) {
      await reading;
      const later = settings.clock();
      // An attacker with a stolen key could send the headers now, and the body after the key was
      // revoked or replaced.
      if (!(later - now <= MAX_BODY_SECONDS_WITHOUT_KEY_CHECK)) {
        goOn(attempt, 'key');
        const found = await lookUp(params.accessKeyId, scope, sessionToken);
        const present = chooseKey(found, scheme, params, scope, later);
        accessKey = checkSignature(stringToSign, signature, params.accessKeyId, present);
      }
    }
    // The body may have arrived slowly. The request must still be fresh when its nonce is claimed.
    goOn(attempt, 'time');
    checkWindow(params, settings, settings.clock());
    const name = nameRequest(params, stringToSign, settings.audience);
    let epoch: string | undefined;
    // Only a presigned URL may be used again. It is not recognised by its expiry, because some
    // schemes put an expiry into headers too.
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
    // A session is not in the key store. The key from which it was made may be.
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
      bodySigned: declared !== 'unsigned',
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
