/** Quotes any text as one word of bash or zsh. */
export function quoteWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A pattern of `case` that matches any of these places. */
export function anyOf(places: readonly { readonly place: string }[]): string {
  return places.map(({ place }) => quoteWord(place)).join(' | ');
}
