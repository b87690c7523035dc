/**
 * The example of the Standard Webhooks specification: seconds from each attempt to the next. The
 * first attempt is made at once. This gives ten attempts over 75 hours.
 *
 * @see the Standard Webhooks specification, "Deliverability and reliability"
 */
export const STANDARD_SCHEDULE: readonly number[] = [
  5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400,
];

const SECONDS = /^\d{1,10}$/;
/** The form of RFC 9110 section 5.6.7 that every sender must write. */
const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/**
 * Reads `Retry-After` (RFC 9110 section 10.2.3).
 *
 * @param now Unix seconds
 * @param most seconds: otherwise a receiver could say "in ten years", and its callbacks would stay
 * here for ten years
 * @returns Unix seconds; `undefined` if the value cannot be used
 */
export function parseRetryAfter(
  value: string | undefined,
  now: number,
  most: number,
): number | undefined {
  if (value === undefined) return undefined;
  const text = value.trim();
  if (SECONDS.test(text)) return now + Math.min(Number(text), most);
  const date = HTTP_DATE.test(text) ? Date.parse(text) / 1000 : Number.NaN;
  return date > now ? Math.min(date, now + most) : undefined;
}
