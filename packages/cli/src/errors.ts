import { CommanderError } from 'commander';

/** A command that cannot be understood, or lacks something: nothing was done. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'ERR_USAGE';
}

/** A command that was understood, and failed. */
export class OperationError extends Error {
  override readonly name = 'OperationError';
  readonly code:
    | 'ERR_CALLBACK_NOT_DELIVERED'
    | 'ERR_DELIVERY_NOT_FOUND'
    | 'ERR_LISTEN_FAILED'
    | 'ERR_MASTER_KEY_FILE'
    | 'ERR_NOT_CONFIRMED'
    | 'ERR_NOT_PRINTED'
    | 'ERR_STORE_FAILED';

  constructor(code: OperationError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function isUsageError(error: unknown): boolean {
  return error instanceof UsageError || error instanceof CommanderError;
}

/** The stable name of an error, for programs. */
export function codeOf(error: Error): string {
  if (isUsageError(error)) return 'ERR_USAGE';
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'ERR_FAILED';
}

/** What went wrong, in one line. */
export function messageOf(error: Error): string {
  return error instanceof CommanderError ? asSentence(error.message) : error.message;
}

/** What the parser of commands says, as the rest of the product would say it. */
function asSentence(message: string): string {
  const text = message
    .replace(/^error: /, '')
    // `--option=value`: the value may be what must not be shown.
    .replace(/^(unknown option '[^'=]+)=.*?'/s, "$1'")
    .replace(/'([^']*)'/g, '"$1"')
    .replace(/\n\(Did you mean (?:one of )?(.*)\?\)$/, ' (did you mean $1?)')
    .replace(/\. (?:Expected|Allowed choices are)/, ': expected')
    .replace(/\.$/, '');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
