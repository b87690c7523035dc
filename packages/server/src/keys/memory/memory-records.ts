import {
  type Change,
  isOver,
  type RecordStore,
  type Resealed,
  type StoredRecord,
} from '../record-store.ts';

/** Records in the memory of this process. */
export class MemoryRecords implements RecordStore {
  readonly #records = new Map<string, StoredRecord>();
  readonly #uses = new Map<string, number>();
  readonly #listeners: ((name?: string) => void)[] = [];
  readonly #clock: () => number;

  /** @param clock Unix seconds */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  /** The store exists as long as this process. */
  async create(): Promise<void> {}

  /** Memory is never restored. */
  async acceptRestore(): Promise<void> {}

  async read(name: string): Promise<StoredRecord | undefined> {
    return this.#records.get(name);
  }

  /** The same, synchronously. */
  peek(name: string): StoredRecord | undefined {
    return this.#records.get(name);
  }

  async names(): Promise<readonly string[]> {
    return [...this.#records.keys()];
  }

  async update(name: string, change: Change): Promise<void> {
    const next = change(this.#records.get(name));
    const now = this.#clock();
    for (const [other, { metadata }] of this.#records)
      if (isOver(metadata, now)) this.#records.delete(other);
    this.put(name, next);
  }

  /** Nothing is sealed here. */
  async reseal(): Promise<Resealed> {
    return { total: this.#records.size, failures: new Map() };
  }

  /** Stores or removes a record, synchronously. It returns whether there was one. */
  put(name: string, record: StoredRecord | undefined): boolean {
    const had = this.#records.has(name);
    if (record === undefined) {
      this.#records.delete(name);
      this.#uses.delete(name);
    } else this.#records.set(name, record);
    for (const listener of this.#listeners) listener(name);
    return had;
  }

  async readUses(): Promise<ReadonlyMap<string, number>> {
    return this.#uses;
  }

  async writeUses(uses: ReadonlyMap<string, number>): Promise<void> {
    for (const [name, time] of uses)
      if (this.#records.has(name)) this.#uses.set(name, Math.max(time, this.#uses.get(name) ?? 0));
  }

  watch(listener: (name?: string) => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {}
}
