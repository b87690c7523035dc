/** What can be in an {@link ExpiryQueue}, which writes both fields. */
export interface Expiring {
  until: number;
  /** Where it is in the queue. */
  place: number;
}

/** Items, the one that expires next first: a binary heap from which any item can be taken. */
export class ExpiryQueue<T extends Expiring> {
  readonly #items: T[] = [];

  get first(): T | undefined {
    return this.#items[0];
  }

  get size(): number {
    return this.#items.length;
  }

  /** Adds an item, or moves it if it is there already. */
  set(item: T, until: number): void {
    item.until = until;
    if (this.#items[item.place] !== item) {
      item.place = this.#items.length;
      this.#items.push(item);
    }
    this.#settle(item);
  }

  delete(item: T): void {
    const { place } = item;
    if (this.#items[place] !== item) return;
    const last = this.#items.pop() as T;
    if (last === item) return;
    this.#put(last, place);
    this.#settle(last);
  }

  #settle(item: T): void {
    while (item.place > 0) {
      const parent = this.#items[(item.place - 1) >> 1] as T;
      if (!(item.until < parent.until)) break;
      this.#swap(item, parent);
    }
    for (;;) {
      const [left, right] = [this.#items[2 * item.place + 1], this.#items[2 * item.place + 2]];
      const least = right !== undefined && right.until < (left as T).until ? right : left;
      if (least === undefined || !(least.until < item.until)) return;
      this.#swap(item, least);
    }
  }

  #swap(one: T, other: T): void {
    const { place } = one;
    this.#put(one, other.place);
    this.#put(other, place);
  }

  #put(item: T, place: number): void {
    item.place = place;
    this.#items[place] = item;
  }
}
