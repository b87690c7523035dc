import { quote } from '@countersign/shared';

/** What a verifier found out about a request, and which verifier it was. */
interface Verified<Verifier, Fact> {
  readonly verifier: Verifier;
  readonly fact: Fact;
}

/**
 * What verifiers found out about requests. It is kept apart from the request itself, where a body
 * parser or a client could reach it.
 */
export class VerifiedRequests<Verifier, Fact> {
  readonly #verified = new WeakMap<object, Verified<Verifier, Fact>>();

  keep(request: object, verifier: Verifier, fact: Fact): void {
    this.#verified.set(request, { verifier, fact });
  }

  /** Whether this verifier has already verified the request. */
  isVerifiedBy(request: object, verifier: Verifier): boolean {
    return this.#verified.get(request)?.verifier === verifier;
  }

  /**
   * What was found out about a request.
   *
   * @param what the question, as the message says it after "Cannot tell"
   * @param middleware what to mount
   * @throws TypeError if no verifier has verified it
   */
  get(request: object, what: string, middleware: string): Fact {
    const verified = this.#verified.get(request);
    if (verified !== undefined) return verified.fact;
    const { originalUrl, url } = (request ?? {}) as { originalUrl?: string; url?: string };
    throw new TypeError(
      `Cannot tell ${what} ${quote(originalUrl ?? url)}: mount ${middleware} above this route`,
    );
  }
}
