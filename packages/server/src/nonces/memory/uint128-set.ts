import { randomFillSync } from 'node:crypto';

/** An integer of 128 bits, as four of 32 bits. A nonce is one. */
export type Uint128 = readonly [number, number, number, number];

const WORDS = 4;
const FEWEST_SLOTS = 64;
/** Of the slots that a set has outgrown. It divides them all, and so few take no time. */
const MOVED_AT_ONCE = 8;

/**
 * A set of 128 bits each in one typed array, by open addressing: 22 to 43 bytes each, and nothing for the garbage collector to
 * visit, where a `Set` of strings takes a hundred and stops the process for as many milliseconds.
 *
 * To grow does not stop the process either: every call moves a few to the larger array. Until all have moved, 64 bytes each.
 */
export class Uint128Set {
  #slots = new Int32Array(FEWEST_SLOTS * WORDS);
  /** What there was before the array grew. Whole until all of it has moved: look-ups end at a free slot. */
  #outgrown: Int32Array | undefined;
  #moved = 0;
  #size = 0;

  /** How many are held. */
  get size(): number {
    return this.#size;
  }

  /** @param hash of the value, for who asks several sets */
  has(value: Uint128, hash = hashUint128(value)): boolean {
    this.#moveSome();
    if (holds(this.#slots, value, hash)) return true;
    return this.#outgrown !== undefined && holds(this.#outgrown, value, hash);
  }

  /** Adds what is not held yet. */
  add(value: Uint128, hash = hashUint128(value)): void {
    this.#moveSome();
    // Three quarters full: so far a look-up takes a handful of steps.
    if (this.#size * 4 >= (this.#slots.length / WORDS) * 3) this.#grow();
    put(this.#slots, value, hash);
    this.#size++;
  }

  /** By then all of the last time have moved: that took fewer calls than there were to add since. */
  #grow(): void {
    this.#outgrown = this.#slots;
    this.#moved = 0;
    this.#slots = new Int32Array(this.#outgrown.length * 2);
  }

  #moveSome(): void {
    const outgrown = this.#outgrown;
    if (outgrown === undefined) return;
    const end = this.#moved + MOVED_AT_ONCE * WORDS;
    for (let slot = this.#moved; slot < end; slot += WORDS) {
      if (outgrown[slot] === 0) continue;
      const value = valueAt(outgrown, slot);
      put(this.#slots, value, hashUint128(value));
    }
    this.#moved = end;
    if (end === outgrown.length) this.#outgrown = undefined;
  }
}

function valueAt(slots: Int32Array, slot: number): Uint128 {
  return [slots[slot], slots[slot + 1], slots[slot + 2], slots[slot + 3]] as unknown as Uint128;
}

function holds(slots: Int32Array, value: Uint128, hash: number): boolean {
  return slots[find(slots, value, hash)] !== 0;
}

/** Word by word: `slots.set(value)` costs more than all of a look-up. */
function put(slots: Int32Array, value: Uint128, hash: number): void {
  const slot = find(slots, value, hash);
  slots[slot] = marked(value[0]);
  slots[slot + 1] = value[1];
  slots[slot + 2] = value[2];
  slots[slot + 3] = value[3];
}

/** The place of this value, or the free one where they would be. */
function find(slots: Int32Array, value: Uint128, hash: number): number {
  const last = slots.length - 1;
  const first = marked(value[0]);
  for (let slot = (hash >>> Math.clz32(last)) & -WORDS; ; slot = (slot + WORDS) & last) {
    const held = slots[slot];
    if (held === 0) return slot;
    if (
      held === first &&
      slots[slot + 1] === value[1] &&
      slots[slot + 2] === value[2] &&
      slots[slot + 3] === value[3]
    )
      return slot;
  }
}

/** Zero in the first word marks a free slot. */
function marked(first: number): number {
  return first === 0 ? 1 : first;
}

/** For each of the sixteen bytes, a random number for each value that it can have. */
const RANDOM = randomFillSync(new Int32Array(4 * WORDS * 256));

/**
 * 32 bits that nobody can aim at, neither with nonces of their own choice: of each byte they take a random number that nobody knows
 * (tabulation hashing, under which open addressing takes few steps whatever it is given). A sum of products would not do: nonces that
 * differ in the upper bits of their words only have but a few.
 */
export function hashUint128(value: Uint128): number {
  return (
    hashWord(marked(value[0]), 0) ^
    hashWord(value[1], 1024) ^
    hashWord(value[2], 2048) ^
    hashWord(value[3], 3072)
  );
}

function hashWord(word: number, at: number): number {
  return (
    (RANDOM[at + (word & 255)] as number) ^
    (RANDOM[at + 256 + ((word >>> 8) & 255)] as number) ^
    (RANDOM[at + 512 + ((word >>> 16) & 255)] as number) ^
    (RANDOM[at + 768 + (word >>> 24)] as number)
  );
}
