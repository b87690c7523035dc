/**
 * Parses a URL. It gives `undefined` if the text is none.
 *
 * It uses `new URL()` only. In Node.js 20 and 22, `URL.canParse()` wrongly refuses
 * `https://bücher.example/`, and other hosts with characters between U+0080 and U+00FF, after V8
 * has optimized it.
 */
export function toUrl(text: string | URL, base?: string | URL): URL | undefined {
  try {
    return new URL(text, base);
  } catch {
    return undefined;
  }
}
