import type { Attempt } from './traffic.ts';

/** What an event log shows. */
export interface Verdict {
  readonly sent: number;
  readonly accepted: number;
  readonly replays: number;
  /** Nonces that were accepted more than once. */
  readonly doubles: number;
  /** Honest requests that were refused as used before. */
  readonly falseReplays: number;
  /** Honest requests that got no answer at all. */
  readonly unanswered: number;
  /** Honest requests refused without a reason, or without a word on what would help. */
  readonly unexplained: readonly Attempt[];
  /** How many honest requests were refused, by reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** Milliseconds: the longest that a client waited for a 503. */
  readonly slowest503: number;
}

/** What an honest client may be told: each says what would help, and when. */
const RETRYABLE = new Set(['replay-unknown', 'unavailable', 'clock-skew']);

export function judge(log: readonly Attempt[]): Verdict {
  const accepted = new Map<string, number>();
  for (const { status, nonce } of log)
    if (status === 200) accepted.set(nonce, (accepted.get(nonce) ?? 0) + 1);
  const honest = log.filter(({ sender }) => sender !== 'replay');
  const answered = honest.filter(({ status }) => status !== 0);
  const refusals = answered.filter(({ status }) => status !== 200);
  const refused: Record<string, number> = {};
  for (const { status, reason } of refusals) {
    const name = `${status} ${reason}`.trim();
    refused[name] = (refused[name] ?? 0) + 1;
  }
  return {
    sent: honest.length,
    accepted: answered.length - refusals.length,
    unanswered: honest.length - answered.length,
    replays: log.length - honest.length,
    doubles: [...accepted.values()].filter((times) => times > 1).length,
    falseReplays: refusals.filter(({ reason }) => reason === 'nonce-reused').length,
    unexplained: refusals.filter((it) => !isExplained(it)),
    refused,
    slowest503: Math.max(
      0,
      ...log.filter(({ status }) => status === 503).map(({ milliseconds }) => milliseconds),
    ),
  };
}

function isExplained({ status, reason, retry, retryAfter }: Attempt): boolean {
  if (!RETRYABLE.has(reason) || retry !== 're-signed') return false;
  return (
    reason === 'clock-skew' ||
    (status === 503 || reason === 'replay-unknown' ? retryAfter > 0 : true)
  );
}

/**
 * How clients were served again after a moment. If the store began a new life more than once, the
 * last time counts.
 */
export interface Recovery {
  /** The most attempts that a client which echoes made in the epoch that let it in. */
  readonly attempts: number;
  /** Seconds for which clients without the echo were refused in the epoch that let them in. */
  readonly plainSeconds: number;
}

/** @param since milliseconds, by `performance.now()`: when the fault was over */
export function recovery(log: readonly Attempt[], since: number): Recovery {
  const answered = log
    .filter(({ at, sender, epoch }) => at >= since && sender !== 'replay' && epoch !== undefined)
    .toSorted((a, b) => a.at - b.at);
  const clients = new Map<string, Attempt[]>();
  for (const attempt of answered) {
    const name = `${attempt.sender} ${attempt.client}`;
    clients.set(name, [...(clients.get(name) ?? []), attempt]);
  }
  let attempts = clients.size === 0 ? Number.POSITIVE_INFINITY : 0;
  let plainSeconds = attempts;
  for (const [name, own] of clients) {
    const isIn = own.find(({ status }) => status === 200);
    const inEpoch = own.filter(({ at, epoch }) => epoch === isIn?.epoch && at <= (isIn?.at ?? 0));
    const [first] = inEpoch;
    if (name.startsWith('echoing'))
      attempts = Math.max(
        attempts,
        first === undefined ? Number.POSITIVE_INFINITY : inEpoch.length,
      );
    else {
      const seconds = ((isIn?.at ?? Number.POSITIVE_INFINITY) - (first?.at ?? 0)) / 1000;
      plainSeconds = Math.max(plainSeconds, seconds);
    }
  }
  return { attempts, plainSeconds };
}
