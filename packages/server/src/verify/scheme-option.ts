import { ALGORITHMS, isAlgorithm, type Scheme } from '@countersign/shared';
import * as z from 'zod';

const METHODS = ['challenge', 'prepare', 'canonicalRequest', 'stringToSign', 'write', 'read'];
const FORM_METHODS = ['prepare', 'stringToSign', 'write', 'read'] as const;
const OPTIONAL_METHODS = ['openBody', 'sealBody'];
const TARGETS: unknown[] = ['strict', 'as-sent', undefined];
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/;

/** A scheme, ours or the application's. It is checked at construction, not at the first request. */
export const schemeOption = z.custom<Scheme>().superRefine((scheme, context) => {
  const expected = findSchemeFlaw(scheme);
  if (expected !== undefined) context.addIssue({ code: 'custom', message: expected });
});

/**
 * Says what is wrong with a scheme.
 *
 * @returns what is expected instead; `undefined` if nothing is wrong
 */
function findSchemeFlaw(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'a scheme such as countersign()';
  const scheme = value as Partial<Scheme> & Record<string, unknown>;
  const { name, algorithms, derive, confidential = [], targets, responses } = scheme;
  const rules: (readonly [expected: string, holds: boolean])[] = [
    ...METHODS.map((it) => [`with a method ${it}()`, isFunction(scheme[it])] as const),
    ...OPTIONAL_METHODS.map(
      (it) => [`with a method ${it}() or none`, isFunction(scheme[it] ?? isFunction)] as const,
    ),
    ['with "strict" or "as-sent" for "targets"', TARGETS.includes(targets)],
    [
      `with ${FORM_METHODS.join('(), ')}() in "responses"`,
      responses === undefined || FORM_METHODS.every((it) => isFunction(responses?.[it])),
    ],
    ['with a token for "name"', typeof name === 'string' && TOKEN.test(name)],
    [
      `with "algorithms" among ${ALGORITHMS.join(', ')}`,
      isListOf(algorithms, isAlgorithm) && algorithms?.length !== 0,
    ],
    [
      'with scope() and key() in "derive"',
      derive === undefined || (isFunction(derive?.scope) && isFunction(derive?.key)),
    ],
    ['with lower-case names in "confidential"', isListOf(confidential, isLowerCase)],
  ];
  const flaw = rules.find(([, holds]) => !holds)?.[0];
  return flaw && `a scheme such as countersign(), ${flaw}`;
}

function isListOf(value: unknown, accepts: (it: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(accepts);
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function';
}

function isLowerCase(text: unknown): boolean {
  return typeof text === 'string' && text === text.toLowerCase();
}
