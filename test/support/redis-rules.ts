import { readFileSync } from 'node:fs';

/**
 * The rule of a Redis user, as a page of the documents has it.
 *
 * @param page of `docs`
 * @param of whose rule it is: the first column of its table
 */
export function ruleOf(page: string, of: string): readonly string[] {
  const text = readFileSync(new URL(`../../docs/${page}.md`, import.meta.url), 'utf8');
  const rows = text.matchAll(/^\| (.*) \| `((?:%R)?~\S+:\* [^`]+)` \|$/gm);
  for (const [, name = '', rule = ''] of rows) {
    if (name.replaceAll('`', '') === of) return rule.split(' ');
  }
  throw new Error(`There is no rule of ${of} in docs/${page}.md`);
}

/** Whose rule it is that changes keys. */
export const CHANGES_KEYS = 'RedisKeyStore that changes keys or begins sessions, and countersign';
