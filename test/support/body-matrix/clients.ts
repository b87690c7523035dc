import type { Message } from './messages.ts';
import type { Party } from './parties.ts';

/** One request that is to be sent. */
export interface Call {
  readonly port: number;
  readonly message: Message;
  readonly party: Party;
  /** Resolves when the server has asked its slow store, so it is verifying. */
  readonly asked: Promise<void>;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** A request on its way. */
export interface Contact {
  /** The answer, or nothing when the connection is gone without one. */
  readonly answered: Promise<Answer | undefined>;
  /** Resolves when the client has done everything except wait for the answer. */
  readonly acted: Promise<void>;
  /** Closes the connection on this side. */
  readonly leave: () => void;
}

/** One way in which a client sends a request. */
export interface Client {
  readonly name: string;
  /**
   * - `always`: it must be answered.
   * - `if Node lets us`: it must be answered, because a server without a guard answers it. One case
   *   is left out: with a streamed body on a stock server, Node itself aborts the request when it
   *   reads the FIN.
   * - `never`: it may be dropped.
   */
  readonly mustBeAnswered: 'always' | 'if Node lets us' | 'never';
  /** Whether the end of the body is never sent. */
  readonly cutsShort: boolean;
  readonly contact: (call: Call) => Promise<Contact>;
}

/** Pauses for some turns of the event loop, in which the other side can act. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++)
    await new Promise<void>((resolve) => void setImmediate(resolve));
}

/** Cuts bytes into some pieces of about one size. */
export function piecesOf(bytes: Buffer, count: number): Buffer[] {
  const length = Math.ceil(bytes.length / count);
  return Array.from({ length: count }, (_, index) =>
    bytes.subarray(index * length, (index + 1) * length),
  );
}
