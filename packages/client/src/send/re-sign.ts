import { isStream } from '../sign/body.ts';
import { createEpochs } from '../sign/epochs.ts';
import type { SignedRequest, UnsignedRequest } from '../sign/requests.ts';
import { buildSigner } from '../sign/signer.ts';
import type { SignerOptions } from '../sign/signer-options.ts';
import { parseUrl } from '../sign/unsigned-request.ts';
import { originOf } from './origins.ts';
import { findRetryReason, type RetryReason } from './retry-reason.ts';
import { unlessAborted } from './unless-aborted.ts';

/** What a transport knows of a response before its body arrives. */
export interface ResponseHead {
  readonly status: number;
  /** Gives the value of a header by its lower-case name. Several values are joined by `, `. */
  header(name: string): string | null | undefined;
  /** The URL that answered, if the transport knows it. */
  readonly url?: string;
}

/** The attempts to send one request: each has a signature of its own. */
export interface Attempts {
  /**
   * Signs the next attempt.
   *
   * @throws what `signer.sign` throws, and the reason of the signal if the call was aborted
   */
  sign(): Promise<SignedRequest>;
  /**
   * Reads the response to the attempt that was signed last, and records the epoch that it names.
   *
   * @returns why another attempt may succeed; `undefined` if the response is the answer to the
   *   call. Each reason is given once.
   */
  read(head: ResponseHead): RetryReason | undefined;
  /**
   * Gets what the next attempt needs: other credentials, if the server refused the last ones.
   *
   * @returns whether the next attempt differs from the last one
   * @throws the reason of the signal if the call was aborted
   */
  prepare(reason: RetryReason): Promise<boolean>;
}

/**
 * Builds the one mechanism by which all transports sign, read a refusal, and sign once more.
 *
 * @param what is built with it, for messages
 * @returns a function that begins a call; it throws a TypeError if the URL cannot be signed
 * @throws TypeError naming the option that cannot be used
 */
export function createReSigner(
  what: string,
  options: SignerOptions,
): (request: UnsignedRequest, signal: AbortSignal | null | undefined) => Attempts {
  const { signer, credentials } = buildSigner(what, options);
  const epochs = createEpochs();

  return (request, signal) => {
    const { origin } = parseUrl(request.url);
    const tried = new Set<RetryReason>();
    let accessKeyId = '';

    const helps = (reason: RetryReason): boolean =>
      !tried.has(reason) &&
      !isStream(request.body) &&
      (reason === 'epoch' || credentials.isReplaceable(accessKeyId));

    return {
      async sign() {
        const signing = signer.sign({ ...request, epoch: epochs.get(origin) });
        const attempt = await unlessAborted(signing, signal);
        accessKeyId = attempt.accessKeyId;
        return attempt.signed;
      },

      read({ status, header, url = '' }) {
        // The `fetch` of an application may have gone elsewhere: another origin speaks for itself.
        if (url !== '' && originOf(url) !== origin) return undefined;
        epochs.record(origin, header('countersign-epoch'));
        const reason = findRetryReason(status, header('www-authenticate'), options.audience);
        return reason !== undefined && helps(reason) ? reason : undefined;
      },

      async prepare(reason) {
        tried.add(reason);
        return reason === 'epoch' || unlessAborted(credentials.replace(accessKeyId), signal);
      },
    };
  };
}
