/** A power of 2. */
const SLOTS = 1_024;
/** Characters. Longer texts mostly come from attackers, so they are not kept. */
const LONGEST = 512;

/**
 * Remembers the result of a pure function for texts that come often. There are 1,024 slots, and
 * each keeps one text from its second time on. An attacker who always sends new texts fills no
 * slot, and makes no work for the garbage collector.
 *
 * @param hashOf gives a number of 32 bits, which selects the slot of a text
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
 * A copy of a text that was cut out of a longer one, so that it can be kept. V8 makes such a piece
 * a view of the whole text, which stays in memory. Comparing a view also takes ten times as long.
 */
export function copyText(text: string): string {
  return JSON.parse(JSON.stringify(text)) as string;
}

/** Remembers the last result of a pure function whose input changes about once a second. */
export function rememberLast<A extends string | number, T>(
  compute: (input: A) => T,
): (input: A) => T {
  let last: { readonly input: A; readonly result: T } | undefined;
  return (input) => {
    if (last?.input !== input) last = { input, result: compute(input) };
    return last.result;
  };
}
