/** Words of a digest that are kept: 128 bits, so that two nonces never meet by chance. */
const WORDS = 4;
const FEWEST_SLOTS = 64;

/** The first 128 bits of a digest, as four words; the first is never zero, which marks a free slot. */
export type Digest = readonly [number, number, number, number];

/** Takes the words of a digest of at least 16 bytes. */
export function wordsOf(bytes: Uint8Array): Digest {
  return [word(bytes, 0) || 1, word(bytes, 4), word(bytes, 8), word(bytes, 12)];
}

/**
 * A set of digests in one typed array, by open addressing: 22 to 43 bytes each, and nothing for the garbage collector to
 * visit, where a `Set` of strings takes a hundred and stops the process for as many milliseconds.
 *
 * Digests must be uniformly distributed, and not for strangers to choose: the first word is the place.
 */
export class DigestSet {
  #slots = new Uint32Array(FEWEST_SLOTS * WORDS);
  #size = 0;

  /** How many digests are held. */
  get size(): number {
    return this.#size;
  }

  has(digest: Digest): boolean {
    return this.#slots[find(this.#slots, digest)] !== 0;
  }

  /** Adds a digest that is not held yet. */
  add(digest: Digest): void {
    // Three quarters full: so far a look-up takes a handful of steps.
    if (this.#size * 4 >= (this.#slots.length / WORDS) * 3) this.#grow();
    this.#slots.set(digest, find(this.#slots, digest));
    this.#size++;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (let slot = 0; slot < old.length; slot += WORDS) {
      if (old[slot] === 0) continue;
      const digest = old.subarray(slot, slot + WORDS) as unknown as Digest;
      this.#slots.set(digest, find(this.#slots, digest));
    }
  }
}

/** The place of a digest, or the free one where it would be. */
function find(slots: Uint32Array, [first, second, third, fourth]: Digest): number {
  for (let slot = (first * WORDS) % slots.length; ; slot = (slot + WORDS) % slots.length) {
    if (slots[slot] === 0) return slot;
    if (slots[slot] === first && slots[slot + 1] === second && slots[slot + 2] === third && slots[slot + 3] === fourth) return slot;
  }
}

function word(bytes: Uint8Array, at: number): number {
  const [first = 0, second = 0, third = 0, fourth = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return ((first << 24) | (second << 16) | (third << 8) | fourth) >>> 0;
}
