const METHOD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}$/;

/**
 * Whether a text can be a method: a token of RFC 9110 section 5.6.2, at most 32 characters long.
 */
export function isMethod(text: string): boolean {
  return METHOD.test(text);
}
