import type { OperatorWarnings } from '../lib/operator-warning.ts';
import { keyName } from './key-record.ts';
import type { RecordStore } from './record-store.ts';

/** Seconds for which uses are collected before they are recorded. */
const RECORD_EVERY = 60;

/**
 * When keys were last used. Uses are collected in memory and recorded together once a minute, since
 * a write for each request would be too expensive.
 */
export class LastUses {
  readonly #records: Pick<RecordStore, 'readUses' | 'writeUses'>;
  readonly #warnings: OperatorWarnings;
  /** Unix seconds by key id, not recorded yet. */
  readonly #uses = new Map<string, number>();
  #recording: NodeJS.Timeout | undefined;

  constructor(records: Pick<RecordStore, 'readUses' | 'writeUses'>, warnings: OperatorWarnings) {
    this.#records = records;
    this.#warnings = warnings;
  }

  /** @param now Unix seconds */
  add(accessKeyId: string, now: number): void {
    this.#uses.set(accessKeyId, now);
    this.#recording ??= setTimeout(() => void this.record(), RECORD_EVERY * 1000).unref();
  }

  /** @returns Unix seconds by id, only of keys that were used */
  async of(accessKeyIds: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const recorded = await this.#records.readUses(accessKeyIds.map(keyName));
    const latest = accessKeyIds.map((id) => {
      const times = [recorded.get(keyName(id)) ?? 0, this.#uses.get(id) ?? 0];
      return [id, Math.max(...times)] as const;
    });
    return new Map(latest.filter(([, time]) => time > 0));
  }

  /**
   * Records what was collected. If that fails, the times are lost and a warning says so: nothing
   * else depends on them.
   */
  async record(): Promise<void> {
    clearTimeout(this.#recording);
    this.#recording = undefined;
    const uses = new Map(Array.from(this.#uses, ([id, time]) => [keyName(id), time] as const));
    this.#uses.clear();
    if (uses.size === 0) return;
    try {
      await this.#records.writeUses(uses);
      this.#warnings.end('COUNTERSIGN_KEY_USE_NOT_RECORDED');
    } catch (error) {
      const message = `Cannot record which keys were used: ${(error as Error).message}`;
      this.#warnings.begin('COUNTERSIGN_KEY_USE_NOT_RECORDED', { message });
    }
  }
}
