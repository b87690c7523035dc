/**
 * One challenge of `WWW-Authenticate`: why a server, or another server behind it, refused a
 * request.
 */
export interface Challenge {
  /** In lower case. */
  readonly scheme: string;
  /** By lower-case name. A challenge with a token in place of parameters has none. */
  readonly params: ReadonlyMap<string, string>;
}

/** Longer headers are not read. */
const LONGEST = 4_096;

/**
 * Reads the challenges of `WWW-Authenticate`, in one pass.
 *
 * @returns an empty list if the header is malformed or too long: a part of it must not be believed
 * @see RFC 9110 section 11.6.1
 */
export function parseChallenges(text: string): readonly Challenge[] {
  if (text.length > LONGEST) return [];
  const challenges: { scheme: string; params: Map<string, string> }[] = [];
  let at = 0;

  function skip(characters: string): void {
    while (at < text.length && characters.includes(text[at] as string)) at++;
  }
  function readWhile(accepts: (code: number) => boolean): string {
    const start = at;
    while (at < text.length && accepts(text.charCodeAt(at))) at++;
    return text.slice(start, at);
  }
  function readQuoted(): string | undefined {
    let value = '';
    for (at++; at < text.length; at++) {
      if (text[at] === '"') {
        at++;
        return value;
      }
      if (text[at] === '\\') at++;
      value += text[at] ?? '';
    }
    return undefined;
  }
  const isAtEnd = (): boolean => at === text.length || text[at] === ',';

  for (;;) {
    skip(' \t,');
    if (at === text.length) return challenges;
    const name = readWhile(isTokenCode).toLowerCase();
    if (name === '') return [];
    const afterName = at;
    skip(' \t');
    const params = challenges.at(-1)?.params;
    if (text[at] === '=' && params !== undefined) {
      at++;
      skip(' \t');
      const value = text[at] === '"' ? readQuoted() : readWhile(isTokenCode);
      skip(' \t');
      // If a parameter is given twice, two readers could believe different values.
      if (value === undefined || !isAtEnd() || params.has(name)) return [];
      params.set(name, value);
      continue;
    }
    if (at === afterName && !isAtEnd()) return [];
    challenges.push({ scheme: name, params: new Map() });
    const afterScheme = at;
    readWhile(isToken68Code);
    skip('=');
    skip(' \t');
    // Basic and Negotiate have a token here. If it is not one, parameters follow.
    if (!isAtEnd()) at = afterScheme;
  }
}

/** Whether RFC 9110 section 5.6.2 allows a character in a token. */
function isTokenCode(code: number): boolean {
  return isAlphanumeric(code) || "!#$%&'*+-.^_`|~".includes(String.fromCharCode(code));
}

/** Whether RFC 9110 section 11.2 allows a character in a token68, before its padding. */
function isToken68Code(code: number): boolean {
  return isAlphanumeric(code) || '-._~+/'.includes(String.fromCharCode(code));
}

function isAlphanumeric(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x61 && code <= 0x7a)
  );
}
