/**
 * A map with a fixed number of places. If it is full, a new key takes the place of the oldest one.
 * So callers that send ever new keys cannot fill the memory of the server.
 */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly #most: number;

  /** @param most the most entries */
  constructor(most: number) {
    super();
    this.#most = most;
  }

  /** Sets a value. A key that is there keeps its age: delete it first to make it the youngest. */
  override set(key: K, value: V): this {
    if (!(this.size < this.#most) && !this.has(key)) this.delete(this.keys().next().value as K);
    return super.set(key, value);
  }
}
