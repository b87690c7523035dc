/**
 * Remembers what a pure function gave for a text. The first `most` texts are kept and no others, so that strangers
 * cannot make it grow; what the function throws is not remembered.
 */
export function remember<T>(most: number, compute: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>();
  return (text) => {
    const found = known.get(text);
    if (found !== undefined) return found;
    const result = compute(text);
    if (known.size < most) known.set(text, result);
    return result;
  };
}

/** Remembers what a pure function gave last: for what changes once a second and is asked a thousand times. */
export function rememberLast<A extends string | number, T>(compute: (input: A) => T): (input: A) => T {
  let last: { readonly input: A; readonly result: T } | undefined;
  return (input) => {
    if (last?.input !== input) last = { input, result: compute(input) };
    return last.result;
  };
}
