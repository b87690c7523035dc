import { quote } from '@countersign/shared';
import { OperationError } from '../lib/errors.ts';
import type { Io } from './io.ts';
import { escapeLine } from './terminal.ts';

type Failure = NodeJS.ErrnoException;

/** Where a command leaves what it found out: data on stdout, remarks for people on stderr. */
export class Output {
  readonly #io: Io;
  readonly #json: boolean;

  constructor(io: Io, json: boolean) {
    this.#io = io;
    this.#json = json;
  }

  /**
   * The data of a command, once, when all is done.
   *
   * @param document what `--json` prints
   * @param text what is printed otherwise
   * @throws OperationError `ERR_NOT_PRINTED`
   */
  async data(document: unknown, text: string): Promise<void> {
    this.#check(await this.#print(document, text, 2));
  }

  /**
   * Data with a secret that nobody can ask for again: here somebody has to read.
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
    const why = failure.code === 'EPIPE' ? 'nobody reads it' : failure.message;
    throw new OperationError(
      'ERR_NOT_PRINTED',
      `Made ${what} ${quote(accessKeyId)}, but cannot print its secret: ${why}; use countersign ${kind}s revoke ${accessKeyId}, and make another`,
      { cause: failure },
    );
  }

  /**
   * Data that comes bit by bit: each a line, with `--json` a document of its own.
   *
   * @returns whether somebody reads on
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
    // Whoever reads may have seen enough, as head does.
    if (failure === undefined || failure.code === 'EPIPE') return;
    throw new OperationError(
      'ERR_NOT_PRINTED',
      `Done, but cannot print the result: ${failure.message}`,
      { cause: failure },
    );
  }
}
