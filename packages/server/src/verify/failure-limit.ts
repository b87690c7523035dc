/** Which signatures are not verified now, and for how long. */
export interface FailureBlock {
  /** All signatures from the client address, or only those with this access key. */
  readonly of: 'client address' | 'access key';
  /** Seconds until it ends. */
  readonly seconds: number;
}

/** Where a signature stands: in the headers of a request, or in a presigned URL. */
export type SignatureKind = 'headers' | 'presigned';

/**
 * Counts failed signatures by client address. It never counts by access key alone: an attacker
 * could lock out the owner of a key by sending wrong signatures with its id.
 */
export interface FailureLimit {
  /**
   * Says whether a signature may be verified. Every request asks, so it answers at once, from
   * memory.
   *
   * @param clientAddress the network address of the caller
   * @param kind where the signature stands; `headers` if not given. An attacker's page can make its
   * visitors' browsers send wrong presigned URLs, but not wrong headers. So failures in URLs must
   * not block requests that are signed in headers
   * @returns `undefined` if it may be verified
   */
  check(clientAddress: string, accessKeyId: string, kind?: SignatureKind): FailureBlock | undefined;
  /**
   * Records that a signature or its key was wrong. It never throws, and no request waits for it.
   */
  record(clientAddress: string, accessKeyId: string, kind?: SignatureKind): void;
}
