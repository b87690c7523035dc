/**
 * Remembers what a pure function gave for a text: the last text of each name, for as many names. With more it begins anew, so
 * that strangers can neither make it grow nor fill it for good; what the function throws is not remembered.
 *
 * @param nameOf a short part of the text that says whose it is: cheaper to look up than all of it
 */
export function remember<T>(
  names: number,
  nameOf: (text: string) => string,
  compute: (text: string) => T,
): (text: string) => T {
  const known = new Map<string, { readonly text: string; readonly result: T }>();
  return (text) => {
    const name = nameOf(text);
    const last = known.get(name);
    if (last?.text === text) return last.result;
    const result = compute(text);
    if (known.size >= names) known.clear();
    known.set(copyText(name), { text: copyText(text), result });
    return result;
  };
}

/**
 * A copy of a text that was cut out of a longer one, to be kept. V8 makes such a piece a view of the whole, which it keeps alive,
 * and which takes ten times as long to compare.
 */
export function copyText(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string;
}

/** Remembers what a pure function gave last: for what changes once a second and is asked a thousand times. */
export function rememberLast<A extends string | number, T>(
  compute: (input: A) => T,
): (input: A) => T {
  let last: { readonly input: A; readonly result: T } | undefined;
  return (input) => {
    if (last?.input !== input) last = { input, result: compute(input) };
    return last.result;
  };
}
