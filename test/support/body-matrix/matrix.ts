import { setTimeout as sleep } from 'node:timers/promises';
import { type Combination, delayName, type Outcome, runCombination } from './combination.ts';

const AT_ONCE = 8;
/** After this time a combination mostly waits, and another one starts beside it. */
const BUSY_MILLISECONDS = 20;
/**
 * The adapters hold a connection for five seconds at most. With more combinations under way, a busy
 * machine could take longer than that for one of them.
 */
const MOST_UNDER_WAY = 64;

/** Runs many combinations, eight at a time. Combinations with the slowest stores start first. */
export async function runMatrix(combinations: readonly Combination[]): Promise<Outcome[]> {
  const outcomes: Promise<Outcome>[] = [];
  const left = combinations.toSorted((a, b) => speedOf(a) - speedOf(b));
  const underWay = new Set<Promise<Outcome>>();
  async function work(): Promise<void> {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      while (underWay.size >= MOST_UNDER_WAY) await Promise.race(underWay);
      const outcome = runCombination(next);
      outcomes.push(outcome);
      underWay.add(outcome);
      void outcome.finally(() => underWay.delete(outcome));
      await Promise.race([outcome, sleep(BUSY_MILLISECONDS)]);
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return Promise.all(outcomes);
}

function speedOf({ delay: { milliseconds } }: Combination): number {
  return typeof milliseconds === 'number' ? milliseconds : 0;
}

/**
 * The faults of a matrix. Combinations that differ only in the delay of the store and the size of
 * the body share one line.
 */
export function listFaults(outcomes: readonly Outcome[]): string[] {
  const lines = new Map<string, string[]>();
  for (const { combination, faults } of outcomes) {
    const { service, client, delay, size } = combination;
    for (const fault of faults) {
      const line = `${service.adapter} · ${service.reader} · ${client.name}: ${fault}`;
      lines.set(line, [...(lines.get(line) ?? []), `${delayName(delay)} ${size}`]);
    }
  }
  return [...lines].map(([line, where]) => `${line} (${where.sort().join(', ')})`).sort();
}
