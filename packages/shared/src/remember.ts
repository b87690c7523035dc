/** The hash picks a slot by its low bits, so this is a power of 2. */
const SLOTS = 1_024;
/** In characters. Longer texts mostly come from strangers and are not kept. */
const LONGEST = 512;

/**
 * Remembers the result of a pure function for texts that come again and again. It has 1,024 slots
 * with one text each, and keeps a text from its second time on. An attacker who sends a different
 * text each time fills no slot and leaves nothing for the garbage collector.
 *
 * @param hashOf gives a number of 32 bits for a text, which picks its slot
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
 * Copies a text that was cut out of a longer one and will be kept. V8 makes such a piece a view of
 * the longer text. The view keeps the longer text alive, and takes ten times as long to compare.
 */
export function copyText(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string;
}

/**
 * Remembers the last result of a pure function. It fits an input that changes once a second and is
 * asked for a thousand times.
 */
export function rememberLast<A extends string | number, T>(
  compute: (input: A) => T,
): (input: A) => T {
  let last: { readonly input: A; readonly result: T } | undefined;
  return (input) => {
    if (last?.input !== input) last = { input, result: compute(input) };
    return last.result;
  };
}
