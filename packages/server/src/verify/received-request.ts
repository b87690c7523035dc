import type { HeadersInput } from '@countersign/shared';
import type { ReceivedBody } from './check-body.ts';

/** A request as a server received it. */
export interface ReceivedRequest {
  readonly method: string;
  /** The request target as on the request line, such as `/VideoParser/?lang=en`. */
  readonly url: string;
  /**
   * Give raw pairs or `req.rawHeaders` if you have them: other forms join or drop duplicates, so
   * the verifier cannot see them.
   */
  readonly headers: HeadersInput;
  /**
   * The header fields as the application reads them, such as `req.headers`, if it reads another
   * form than `headers`: a field that is not among them is refused. Node leaves out of
   * `req.headers` what exceeds `server.maxHeadersCount`, and joins or drops duplicates.
   */
  readonly parsedHeaders?: Readonly<Record<string, unknown>> | undefined;
  /**
   * The host of the URL that the application reads, if it reads one. It must be the host in `Host`,
   * unless `publicOrigin` is set.
   */
  readonly urlHost?: string | undefined;
  /** The body as it came over the wire; empty if not given. */
  readonly body?: ReceivedBody;
  /**
   * The network address of the caller, by which failures are limited. Do not take it from a header
   * that your own proxy has not written: an attacker can write any. If it is not known, failures
   * are not limited.
   */
  readonly clientAddress?: string | undefined;
}
