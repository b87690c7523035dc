/**
 * Verifies a body while it flows, and hands on only what it has verified. It lives for one body.
 * The pipeline gives it every byte that came over the wire, in pieces of any length.
 *
 * A judge must refuse a body that is cut short, put in another order, repeated, or continued after
 * its end. It takes framing off and adds nothing, so it never hands on more than it was given. What
 * it holds back counts for the server's `limit`.
 */
export interface BodyJudge {
  /**
   * Header fields that the application must see in another way, by lower-case name. `undefined`
   * removes a field: a `content-encoding` that names only the framing, for example. The length of
   * the body is not among them, because the server counts it.
   */
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined;
  /**
   * Takes the next bytes.
   *
   * @returns the bytes that are verified now and were not handed on before. The judge does not
   * change these bytes later
   * @throws SignatureError `ERR_BODY_MISMATCH`. The judge is not called again
   */
  push(bytes: Uint8Array): readonly Uint8Array[];
  /**
   * Called once, at the end of the stream, also if there was no byte.
   *
   * @throws SignatureError `ERR_BODY_MISMATCH` if the body is not whole
   */
  end(): void;
}
