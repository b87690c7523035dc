/** For how long nothing is verified, and what of. */
export interface FailureBlock {
  /** All that comes from the client address, or only what it signs with this access key. */
  readonly of: 'client address' | 'access key';
  /** Seconds until it ends. */
  readonly seconds: number;
}

/** Where a signature stands: in the headers of a request, or in a presigned URL. */
export type SignatureKind = 'headers' | 'presigned';

/**
 * Counts failed signatures, by where they come from: never by access key alone, or a stranger could lock out the owner of a
 * key by failing in their name.
 */
export interface FailureLimit {
  /**
   * Says whether a signature may be verified. It is asked about every request, so it answers at once, out of memory.
   *
   * @param clientAddress the network address of the caller
   * @param kind where the signature stands. A page of an attacker can make its visitors' browsers send wrong presigned URLs, but
   *   no wrong headers: what fails in URLs must not block requests that are signed in headers. Headers if not given
   * @returns nothing where it may
   */
  check(clientAddress: string, accessKeyId: string, kind?: SignatureKind): FailureBlock | undefined;
  /** Records that a signature was wrong, or its key. Never throws, and nobody waits for it. */
  record(clientAddress: string, accessKeyId: string, kind?: SignatureKind): void;
}
