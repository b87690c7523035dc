/** A power of 2. */
const SLOTS = 1_024;
/** Characters of a text. Longer ones are a stranger's, mostly, and not to be kept. */
const LONGEST = 512;

/**
 * Remembers what a pure function gave for a text that comes again and again: from its second time on, one text in each of 1,024
 * slots. Strangers who send ever new texts leave nothing behind, neither in the slots nor for the garbage collector.
 *
 * @param hashOf a number of 32 bits, which says what slot a text has
 */
export function remember<T>(
  hashOf: (text: string) => number,
  compute: (text: string) => T,
): (text: string) => T {
  const known = new Array<{ readonly text: string; readonly result: T } | undefined>(SLOTS);
  const seen = new Int32Array(SLOTS);
  return (text) => {
    if (text.length > LONGEST) return compute(text);
    const hash = hashOf(text);
    const slot = hash & (SLOTS - 1);
    const last = known[slot];
    if (last?.text === text) return last.result;
    if (seen[slot] !== hash) {
      seen[slot] = hash;
      return compute(text);
    }
    const copy = copyText(text);
    const result = compute(copy);
    known[slot] = { text: copy, result };
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
