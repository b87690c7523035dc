import { quote } from '@countersign/shared';
import * as z from 'zod';

/** A function. What it takes and returns is between the types and whoever gives it. */
export const functionOption = <F>(what = 'a function') =>
  z.custom<F>((it) => typeof it === 'function', what);

/** An object, known by one of its methods: whoever likes writes one. */
export const objectOption = <T extends object>(method: keyof T, what: string) =>
  z.custom<T>((it) => typeof (it as T | undefined)?.[method] === 'function', what);

/** Where time comes from, in Unix seconds: the system's clock if not given. */
export const clockOption = functionOption<() => number>(
  'a function that returns Unix seconds',
).default(() => () => Date.now() / 1000);

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
  if (issue.code === 'unrecognized_keys') {
    throw new TypeError(
      `Cannot build ${what}: unknown option ${issue.keys.map((key) => quote(key)).join(', ')}`,
    );
  }
  const name = issue.path.map(String).join('.') || 'options';
  const message = `Cannot build ${what}: option ${quote(name)} is ${show(options, issue.path)}: expected ${expectation(issue)}`;
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

function expectation(issue: z.core.$ZodIssue): string {
  return issue.message
    .replace(/^(?:Invalid (?:input|option)|Too \w+): expected /, '')
    .replace(/, received .*$/, '');
}

/** The value as it can be shown: an object or a secret only by its type. */
function show(options: unknown, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    options,
  );
  // Given in place of the options, a text may be a secret.
  const isSecret = path.length === 0 || path.some((key) => /secret|key|redis/i.test(String(key)));
  if (
    typeof value === 'object' ||
    typeof value === 'function' ||
    (isSecret && value !== undefined)
  ) {
    return value === null ? 'null' : `of type ${Array.isArray(value) ? 'array' : typeof value}`;
  }
  return typeof value === 'string' ? quote(value) : String(value);
}
