import type { Io } from './io.ts';
import { printable } from './table.ts';

/** Where a command leaves what it found out: data on stdout, remarks for people on stderr. */
export class Output {
  readonly #io: Io;
  readonly #json: boolean;

  constructor(io: Io, json: boolean) {
    this.#io = io;
    this.#json = json;
  }

  /**
   * The data of a command, once.
   *
   * @param document what `--json` prints
   * @param text what is printed otherwise
   */
  data(document: unknown, text: string): void {
    this.#io.stdout.write(this.#json ? `${JSON.stringify(document, undefined, 2)}\n` : text);
  }

  /** Data that comes bit by bit: each a line, with `--json` a document of its own. */
  line(document: unknown, text: string): void {
    this.#io.stdout.write(this.#json ? `${JSON.stringify(document)}\n` : text);
  }

  note(message: string): void {
    this.#io.stderr.write(`${printable(message)}\n`);
  }
}
