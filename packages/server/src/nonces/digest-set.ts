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
  #slots = new Int32Array(FEWEST_SLOTS * WORDS);
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
    put(this.#slots, digest);
    this.#size++;
  }

  #grow(): void {
    const old = this.#slots;
    this.#slots = new Int32Array(old.length * 2);
    for (let slot = 0; slot < old.length; slot += WORDS) {
      if (old[slot] === 0) continue;
      put(this.#slots, old.subarray(slot, slot + WORDS) as unknown as Digest);
    }
  }
}

/** Word by word: `slots.set(digest)` costs more than all of a look-up. */
function put(slots: Int32Array, digest: Digest): void {
  const slot = find(slots, digest);
  slots[slot] = digest[0];
  slots[slot + 1] = digest[1];
  slots[slot + 2] = digest[2];
  slots[slot + 3] = digest[3];
}

/** The place of a digest, or the free one where it would be. */
function find(slots: Int32Array, digest: Digest): number {
  const last = slots.length - 1;
  for (let slot = (digest[0] * WORDS) & last; ; slot = (slot + WORDS) & last) {
    const first = slots[slot];
    if (first === 0) return slot;
    if (
      first === digest[0] &&
      slots[slot + 1] === digest[1] &&
      slots[slot + 2] === digest[2] &&
      slots[slot + 3] === digest[3]
    )
      return slot;
  }
}

/** Signed: V8 keeps an integer of 32 bits in place, and a larger one in an object of its own. */
function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}
