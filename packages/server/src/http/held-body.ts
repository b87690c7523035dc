/**
 * A body while it arrives, in one piece of memory. If each piece were kept by itself, pieces of one
 * byte would take about 400 times their length.
 */
export class HeldBody {
  readonly #limit: number;
  #memory = new Uint8Array(0);
  #length = 0;

  /** @param limit the most bytes that are held */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @returns whether it was added. If the body would be longer than `limit`, nothing is added */
  add(chunk: Uint8Array): boolean {
    const length = this.#length + chunk.length;
    if (!(length <= this.#limit)) return false;
    if (length > this.#memory.length) {
      const larger = new Uint8Array(
        Math.min(this.#limit, Math.max(length, 2 * this.#memory.length)),
      );
      larger.set(this.#memory);
      this.#memory = larger;
    }
    this.#memory.set(chunk, this.#length);
    this.#length = length;
    return true;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#memory.subarray(0, this.#length);
  }
}
