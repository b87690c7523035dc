/** A binary heap: the value that is due first comes first. */
export class DueHeap<T> {
  readonly #items: { readonly due: number; readonly order: number; readonly value: T }[] = [];
  #added = 0;

  get first(): { readonly due: number; readonly value: T } | undefined {
    return this.#items[0];
  }

  push(due: number, value: T): void {
    const items = this.#items;
    // Of values that are due at the same time, the one that was added first comes first.
    items.push({ due, order: this.#added++, value });
    let at = items.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  pop(): T | undefined {
    const items = this.#items;
    const first = items[0];
    const last = items.pop();
    if (first === undefined || last === undefined || items.length === 0) return first?.value;
    items[0] = last;
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2])
        if (child < items.length && this.#isBefore(child, least)) least = child;
      if (least === at) return first.value;
      this.#swap(at, least);
      at = least;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [left, right] = [this.#items[a], this.#items[b]] as [
      { due: number; order: number },
      { due: number; order: number },
    ];
    return left.due < right.due || (left.due === right.due && left.order < right.order);
  }

  #swap(a: number, b: number): void {
    const items = this.#items;
    [items[a], items[b]] = [items[b], items[a]] as [(typeof items)[number], (typeof items)[number]];
  }
}
