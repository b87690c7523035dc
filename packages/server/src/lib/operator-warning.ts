import { hash } from 'node:crypto';
import { callHook } from './call-hook.ts';
import { functionOption } from './options.ts';
import type { WarningCode } from './warning-codes.ts';

/** What an operator is told. It is plain data, without a secret. */
export interface OperatorWarning {
  /** What is wrong: see docs/errors.md, "Process warnings". */
  readonly code: WarningCode;
  /** What is wrong, what it means for requests, and what to do. */
  readonly message: string;
  /**
   * Why, for programs: of a new epoch, why it began; of clocks, whether that of Redis is `ahead` or
   * `behind`; of a Redis that cannot be reached, the reason.
   */
  readonly cause?: string | undefined;
  /** The epoch that began. */
  readonly epoch?: string | undefined;
  /** Seconds by which clocks differ. */
  readonly seconds?: number | undefined;
}

export type WarningHook = (warning: OperatorWarning) => unknown;

/** The option `onWarning`. */
export const warningOption = functionOption<WarningHook>().optional();

/** What a warning says in addition to its code. */
type Facts = Omit<OperatorWarning, 'code'>;

/**
 * Milliseconds in which a cause of a code is reported at most once: otherwise an unstable
 * connection would fill the log.
 */
const QUIET = 60_000;

/**
 * How many causes of each code are remembered. If a condition has more, further ones are not
 * reported. A cause may contain text of callers, so each code has its own bound.
 */
const MOST_CAUSES = 100;

/**
 * A queue is nearly full from the first share of its places on, until it falls below the second
 * share.
 */
const NEARLY_FULL = 0.8;
const EMPTY_ENOUGH = 0.6;

/**
 * The warnings of one store. Each condition is reported when it begins, and once for each further
 * cause. After it has ended, it can be reported again.
 */
export class OperatorWarnings {
  readonly #hook: WarningHook;
  /** The causes of each present condition. */
  readonly #present = new Map<WarningCode, Set<string>>();
  /**
   * When each cause of a code was reported, in milliseconds of a clock that no administrator sets.
   */
  readonly #reported = new Map<WarningCode, Map<string, number>>();
  #closed = false;

  /** @param onWarning called in place of process warnings */
  constructor(onWarning?: WarningHook) {
    this.#hook = onWarning ?? emitWarning;
  }

  /** Reports a condition, unless it was reported for this cause since it began. */
  begin(code: WarningCode, facts: Facts): void {
    if (this.#closed) return;
    // A cause may be as long as an error of an application, so only its hash is kept.
    const cause = hash('sha256', facts.cause ?? facts.message, 'base64url');
    const causes = this.#present.get(code) ?? new Set();
    if (causes.has(cause) || causes.size >= MOST_CAUSES || !this.#mayReport(code, cause)) return;
    this.#present.set(code, causes.add(cause));
    callHook(this.#hook, { code, ...facts }, 'COUNTERSIGN_ON_WARNING');
  }

  /** Records that a condition has ended. */
  end(code: WarningCode): void {
    this.#present.delete(code);
  }

  /** Reports an event, which does not last. */
  event(code: WarningCode, facts: Facts): void {
    this.begin(code, facts);
    this.end(code);
  }

  /** Reports a queue that is nearly full, and records when it no longer is. */
  fill(code: WarningCode, share: number, message: () => string): void {
    if (share >= NEARLY_FULL) {
      if (!this.#present.has(code)) this.begin(code, { message: message(), cause: 'nearly full' });
    } else if (share < EMPTY_ENOUGH) this.end(code);
  }

  /** Reports nothing from now on: warnings about a closed store are useless. */
  close(): void {
    this.#closed = true;
  }

  #mayReport(code: WarningCode, cause: string): boolean {
    const now = performance.now();
    const reported = this.#reported.get(code) ?? new Map<string, number>();
    this.#reported.set(code, reported);
    if (now < (reported.get(cause) ?? Number.NEGATIVE_INFINITY) + QUIET) return false;
    reported.delete(cause);
    for (const [other, at] of reported) {
      if (now < at + QUIET) break;
      reported.delete(other);
    }
    if (reported.size >= MOST_CAUSES) return false;
    reported.set(cause, now);
    return true;
  }
}

function emitWarning({ code, message }: OperatorWarning): void {
  process.emitWarning(message, { code });
}
