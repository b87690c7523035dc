/** A stream of text, as those of a process are. */
interface TextStream {
  /** Calls back when the text is written, with the error if it could not be. */
  write(text: string, callback: (error?: Error | null) => void): unknown;
}

/**
 * Control characters but the line break, marks that turn text around, and invisible characters.
 * JSON needs none of them as they are.
 */
const UNSAFE = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * The only way to stdout and stderr. Text holds what other people chose: labels, subjects, bodies of callbacks, arguments.
 * None of it may move the cursor, change what the terminal shows, or look like something else.
 */
export class Terminal {
  readonly #stream: TextStream;

  constructor(stream: TextStream) {
    this.#stream = stream;
  }

  /**
   * Writes text, with unsafe characters as `\uXXXX`. So JSON stays the same document.
   *
   * @returns the error if it could not be written; of files at once, of pipes later
   */
  print(text: string): Promise<Error | undefined> {
    return new Promise((resolve) => {
      this.#stream.write(escapeText(text), (error) => resolve(error ?? undefined));
    });
  }
}

/** A value within a line: it ends no line either. */
export function escapeLine(text: string): string {
  return escapeText(text).replaceAll('\n', '\\u000a');
}

function escapeText(text: string): string {
  return text.replace(UNSAFE, (character) =>
    Array.from({ length: character.length }, (_, at) => {
      const unit = character.charCodeAt(at).toString(16);
      return `\\u${unit.padStart(4, '0')}`;
    }).join(''),
  );
}
