import { randomFillSync } from 'node:crypto';

/** An integer of 128 bits, as four of 32 bits. A nonce is one. */
export type Uint128 = readonly [number, number, number, number];

const WORDS = 4;
const FEWEST_SLOTS = 64;
/**
 * How many outgrown slots each call moves. Every size is a multiple of it, and so few take no time.
 */
const MOVED_AT_ONCE = 8;

/**
 * A set of 128-bit integers in one typed array, by open addressing. Each takes 22 to 43 bytes, and
 * the garbage collector has nothing to visit. A `Set` of strings takes a hundred bytes for each,
 * and its collection blocks the process for a hundred milliseconds.
 *
 * To grow does not block the process either: each call moves a few values to the larger array.
 * Until all have moved, each takes 64 bytes.
 */
export class Uint128Set {
  #slots = new Int32Array(FEWEST_SLOTS * WORDS);
  /**
   * The array before it grew. It stays whole until all values have moved, because a look-up ends at
   * a free slot.
   */
  #outgrown: Int32Array | undefined;
  #moved = 0;
  #size = 0;

  /** How many are held. */
  get size(): number {
    return this.#size;
  }

  /** @param hash the hash of the value, if the caller has it already */
  has(value: Uint128, hash = hashUint128(value)): boolean {
    this.#moveSome();
    if (holds(this.#slots, value, hash)) return true;
    return this.#outgrown !== undefined && holds(this.#outgrown, value, hash);
  }

  /** Adds a value that the set does not hold yet. */
  add(value: Uint128, hash = hashUint128(value)): void {
    this.#moveSome();
    // Up to three quarters full, a look-up takes only a few steps.
    if (this.#size * 4 >= (this.#slots.length / WORDS) * 3) this.#grow();
    put(this.#slots, value, hash);
    this.#size++;
  }

  /**
   * All values of the last growth have moved by now: that takes fewer calls than adding as many.
   */
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

/** Word by word: `slots.set(value)` costs more than a whole look-up. */
function put(slots: Int32Array, value: Uint128, hash: number): void {
  const slot = find(slots, value, hash);
  slots[slot] = marked(value[0]);
  slots[slot + 1] = value[1];
  slots[slot + 2] = value[2];
  slots[slot + 3] = value[3];
}

/** The slot of this value, or the free slot for it. */
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
 * A hash of 32 bits that an attacker cannot predict, even for nonces of their choice. Each byte
 * selects a secret random number (tabulation hashing), so open addressing takes few steps for any
 * input. A sum of products would be predictable: nonces that differ only in the upper bits of their
 * words would have only a few different sums.
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
