/** A stream of text, such as stdout. */
interface TextStream {
  /** Calls back when the text is written, or with an error. */
  write(text: string, callback: (error?: Error | null) => void): unknown;
}

/**
 * Control characters except the line break, marks that change the direction of text, and invisible
 * characters. JSON needs none of them unescaped.
 */
const UNSAFE = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * The only way to stdout and stderr. Text may hold what other people chose: labels, subjects,
 * bodies of callbacks, arguments. None of it may move the cursor, change what is shown, or
 * look like something else.
 */
export class Terminal {
  readonly #stream: TextStream;

  constructor(stream: TextStream) {
    this.#stream = stream;
  }

  /**
   * Writes text, with unsafe characters as `\uXXXX`. So JSON stays the same document.
   *
   * @returns the error, if the text could not be written
   */
  print(text: string): Promise<Error | undefined> {
    return new Promise((resolve) => {
      this.#stream.write(escapeText(text), (error) => resolve(error ?? undefined));
    });
  }
}

/** Escapes a value within a line, line breaks included. */
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
