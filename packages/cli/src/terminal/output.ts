import { quote } from '@countersign/shared';
import { OperationError } from '../lib/errors.ts';
import type { Io } from './io.ts';
import { escapeLine } from './terminal.ts';

type Failure = NodeJS.ErrnoException;

/** Prints the results of a command: data to stdout, remarks for people to stderr. */
export class Output {
  readonly #io: Io;
  readonly #json: boolean;

  constructor(io: Io, json: boolean) {
    this.#io = io;
    this.#json = json;
  }

  /**
   * Prints the result of a command. Call it once, at the end.
   *
   * @param document what `--json` prints
   * @param text what is printed otherwise
   * @throws OperationError `ERR_NOT_PRINTED`
   */
  async data(document: unknown, text: string): Promise<void> {
    this.#check(await this.#print(document, text, 2));
  }

  /**
   * Prints data with a secret that cannot be read again, so a closed stdout is an error, too.
   *
   * @throws OperationError `ERR_NOT_PRINTED`
   */
  async secret(
    document: { readonly accessKeyId: string },
    text: string,
    kind: 'key' | 'session',
  ): Promise<void> {
    const failure = await this.#print(document, text, 2);
    if (failure === undefined) return;
    const { accessKeyId } = document;
    const what = { key: 'access key', session: 'session' }[kind];
    const why = failure.code === 'EPIPE' ? 'stdout is closed' : failure.message;
    throw new OperationError(
      'ERR_NOT_PRINTED',
      `Made ${what} ${quote(accessKeyId)}, but cannot print its secret: ${why}; run countersign ${kind}s revoke ${accessKeyId}, and make another`,
      { cause: failure },
    );
  }

  /**
   * Prints one piece of data, on a line; with `--json` as a document of its own.
   *
   * @returns whether stdout is still open
   * @throws OperationError `ERR_NOT_PRINTED`
   */
  async line(document: unknown, text: string): Promise<boolean> {
    const failure = await this.#print(document, text);
    this.#check(failure);
    return failure === undefined;
  }

  note(message: string): void {
    void this.#io.stderr.print(`${escapeLine(message)}\n`);
  }

  async #print(document: unknown, text: string, indent?: number): Promise<Failure | undefined> {
    return await this.#io.stdout.print(
      this.#json ? `${JSON.stringify(document, undefined, indent)}\n` : text,
    );
  }

  #check(failure: Failure | undefined): void {
    // A closed stdout is no failure: a reader such as head has seen enough.
    if (failure === undefined || failure.code === 'EPIPE') return;
    throw new OperationError(
      'ERR_NOT_PRINTED',
      `Cannot print the result: ${failure.message}; the command itself succeeded`,
      { cause: failure },
    );
  }
}
