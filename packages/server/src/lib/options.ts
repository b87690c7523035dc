import {
  describeValue,
  findClockFlaw,
  findSecretFlaw,
  kindOf,
  quote,
  strictClock,
} from '@countersign/shared';
import * as z from 'zod';

/** A function. What it takes and returns is between the types and whoever gives it. */
export const functionOption = <F>(what = 'a function') =>
  z.custom<F>((it) => typeof it === 'function', what);

/** An object, known by one of its methods: whoever likes writes one. */
export const objectOption = <T extends object>(method: keyof T, what: string) =>
  z.custom<T>((it) => typeof (it as T | undefined)?.[method] === 'function', what);

/** A clock, in Unix seconds. It is called once to check it, and again for every time that is needed. */
export const strictClockOption = z
  .custom<() => number>()
  .superRefine((clock, context) => {
    const expected = findClockFlaw(clock);
    if (expected !== undefined) context.addIssue({ code: 'custom', message: expected });
  })
  .transform(strictClock);

/** The option `clock` of a thing that has a clock of its own if none is given. */
export const clockOr = (fallback: () => number) => strictClockOption.default(() => fallback);

/** The option `clock` of all others: the system's clock if not given. */
export const clockOption = clockOr(() => Date.now() / 1000);

/** A secret that can be used. Of another it is said what is wrong with it, and it is not shown. */
export const secretOption = z.custom<string>().superRefine((secret, context) => {
  const flaw = findSecretFlaw(secret);
  if (flaw === undefined) return;
  // Of what is no text, its type is said anyway.
  const message = typeof secret === 'string' ? `a generated secret: ${flaw}` : 'a generated secret';
  context.addIssue({ code: 'custom', message });
});

/**
 * Checks options once, where a thing is built, so that no mistake in them waits for a request.
 *
 * @throws TypeError for a wrong type or shape, RangeError for a number out of range; both name the option and its value
 */
export function parseOptions<S extends z.ZodType>(
  what: string,
  schema: S,
  options: unknown,
): z.output<S> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  const issue = result.error.issues[0] as z.core.$ZodIssue;
  const pathOf = (...more: PropertyKey[]) => quote([...issue.path, ...more].map(String).join('.'));
  if (issue.code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => pathOf(key)).join(', ');
    throw new TypeError(`Cannot build ${what}: unknown option ${names}`);
  }
  if (issue.path.length === 0)
    throw new TypeError(
      `Cannot build ${what}: expected ${expectation(issue)}, got ${kindOf(options)}`,
    );
  const message = `Cannot build ${what}: option ${pathOf()} is ${show(options, issue.path)}: expected ${expectation(issue)}`;
  throw issue.code === 'too_small' || issue.code === 'too_big'
    ? new RangeError(message)
    : new TypeError(message);
}

/** Only what is given: an option that is `undefined` must not overwrite a default. */
export function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Types, as people who never heard of the parser call them. */
const TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
};

/** What belongs in the place of a wrong value. The parser's own sentences name its types, not ours. */
function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return TYPES[issue.expected] ?? issue.expected;
    case 'invalid_value':
      return oneOf(issue.values);
    case 'too_small':
      return `${issue.inclusive === false ? 'more than' : 'at least'} ${count(issue.minimum, issue.origin)}`;
    case 'too_big':
      return `${issue.inclusive === false ? 'less than' : 'at most'} ${count(issue.maximum, issue.origin)}`;
    default:
      // Ours.
      return issue.message;
  }
}

function count(size: number | bigint, origin: string): string {
  const unit = { array: ['entry', 'entries'], string: ['character', 'characters'] }[origin];
  return unit === undefined ? `${size}` : `${size} ${size === 1 ? unit[0] : unit[1]}`;
}

/** `"a", "b" or "c"`. */
function oneOf(values: readonly unknown[]): string {
  const shown = values.map(describeValue);
  const last = shown.pop();
  return shown.length === 0 ? `${last}` : `${shown.join(', ')} or ${last}`;
}

/** The value as it can be shown: an object or a secret only by its type. */
function show(options: unknown, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    options,
  );
  const isSecret = path.some((key) => /secret|(?<!per)key|redis/i.test(String(key)));
  return isSecret && value !== undefined ? `of type ${kindOf(value)}` : describeValue(value);
}
