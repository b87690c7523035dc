/**
 * Parses a URL. Returns `undefined` if the text is not a URL.
 *
 * It asks `new URL()` only. In Node.js 20 and 22, once `URL.canParse()` is optimized, it says no to
 * `https://bücher.example/` and to other hosts with characters between U+0080 and U+00FF.
 */
export function toUrl(text: string | URL, base?: string | URL): URL | undefined {
  try {
    return new URL(text, base);
  } catch {
    return undefined;
  }
}
