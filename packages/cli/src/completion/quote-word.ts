/** A word of a shell, whatever is in it: for bash and zsh. */
export function quoteWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
