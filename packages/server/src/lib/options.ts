import {
  describeValue,
  findClockFlaw,
  findSecretFlaw,
  kindOf,
  quote,
  strictClock,
} from '@countersign/shared';
import * as z from 'zod';

/** A function. Its arguments and its result are not checked. */
export const functionOption = <F>(what = 'a function') =>
  z.custom<F>((it) => typeof it === 'function', what);

/** An object that has one certain method, so that applications can write their own. */
export const objectOption = <T extends object>(method: keyof T, what: string) =>
  z.custom<T>((it) => typeof (it as T | undefined)?.[method] === 'function', what);

/** A clock, in Unix seconds. It is called once to check it. */
export const strictClockOption = z
  .custom<() => number>()
  .superRefine((clock, context) => {
    const expected = findClockFlaw(clock);
    if (expected !== undefined) context.addIssue({ code: 'custom', message: expected });
  })
  .transform(strictClock);

/** The option `clock` with its own default. */
export const clockOr = (fallback: () => number) => strictClockOption.default(() => fallback);

/** The option `clock`: the system's clock if not given. */
export const clockOption = clockOr(() => Date.now() / 1000);

/** A secret. If it is unusable, the message says why and does not show it. */
export const secretOption = z.custom<string>().superRefine((secret, context) => {
  const flaw = findSecretFlaw(secret);
  if (flaw === undefined) return;
  // A value that is no text is described by its type.
  const message = typeof secret === 'string' ? `a generated secret: ${flaw}` : 'a generated secret';
  context.addIssue({ code: 'custom', message });
});

/**
 * Checks options when a thing is built, so that a mistake does not wait for a request.
 *
 * @throws TypeError for a wrong type or shape, RangeError for a number out of range; both name the
 *   option and its value
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

/** Removes fields that are `undefined`: they must not overwrite defaults. */
export function given<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

/** Types in plain words. */
const TYPES: Readonly<Record<string, string>> = {
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
};

/** What is expected in place of a wrong value, in our words instead of zod's. */
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
      // A message of our own schema.
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

/** The value as a message can show it: of an object or a secret only the type. */
function show(options: unknown, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    options,
  );
  const isSecret = path.some((key) => /secret|(?<!per)key|redis/i.test(String(key)));
  return isSecret && value !== undefined ? `of type ${kindOf(value)}` : describeValue(value);
}
