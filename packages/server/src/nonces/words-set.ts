import { randomBytes } from 'node:crypto';
import type { Words } from './nonce-words.ts';

const WORDS = 4;
const FEWEST_SLOTS = 64;

/**
 * Random odd numbers: multiplied with them and added up, words give a place that nobody can aim at, neither with nonces of their
 * own choice (multiply-shift hashing: no two meet more often than chance has it).
 */
const [A, B, C, D] = Int32Array.from(
  { length: WORDS },
  () => randomBytes(4).readInt32LE() | 1,
) as unknown as [number, number, number, number];

/**
 * A set of 128 bits each in one typed array, by open addressing: 22 to 43 bytes each, and nothing for the garbage collector to
 * visit, where a `Set` of strings takes a hundred and stops the process for as many milliseconds.
 */
export class WordsSet {
  #slots = new Int32Array(FEWEST_SLOTS * WORDS);
  #size = 0;

  /** How many are held. */
  get size(): number {
    return this.#size;
  }

  has(words: Words): boolean {
    return this.#slots[find(this.#slots, words)] !== 0;
  }

  /** Adds what is not held yet. */
  add(words: Words): void {
    // Three quarters full: so far a look-up takes a handful of steps.
    if (this.#size * 4 >= (this.#slots.length / WORDS) * 3) this.#grow();
    put(this.#slots, words);
    this.#size++;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    for (let slot = 0; slot < old.length; slot += WORDS) {
      if (old[slot] === 0) continue;
      put(this.#slots, old.subarray(slot, slot + WORDS) as unknown as Words);
    }
  }
}

/** Word by word: `slots.set(words)` costs more than all of a look-up. */
function put(slots: Int32Array, words: Words): void {
  const slot = find(slots, words);
  slots[slot] = marked(words[0]);
  slots[slot + 1] = words[1];
  slots[slot + 2] = words[2];
  slots[slot + 3] = words[3];
}

/** The place of these words, or the free one where they would be. */
function find(slots: Int32Array, words: Words): number {
  const last = slots.length - 1;
  const first = marked(words[0]);
  const mixed =
    Math.imul(first, A) + Math.imul(words[1], B) + Math.imul(words[2], C) + Math.imul(words[3], D);
  // The upper bits of the product are the mixed ones.
  for (let slot = (mixed >>> Math.clz32(last)) & -WORDS; ; slot = (slot + WORDS) & last) {
    const held = slots[slot];
    if (held === 0) return slot;
    if (
      held === first &&
      slots[slot + 1] === words[1] &&
      slots[slot + 2] === words[2] &&
      slots[slot + 3] === words[3]
    )
      return slot;
  }
}

/** Zero in the first word marks a free slot. */
function marked(first: number): number {
  return first === 0 ? 1 : first;
}
