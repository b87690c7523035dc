import { quote } from '@countersign/shared';
import type { CommanderError } from 'commander';
import type { CommandPlace } from './command-tree.ts';

/** The command line is wrong or incomplete. The command did nothing. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'ERR_USAGE';
}

/** The command line was right, but the operation failed. */
export class OperationError extends Error {
  override readonly name = 'OperationError';
  readonly code:
    | 'ERR_BULLMQ_MISSING'
    | 'ERR_CALLBACK_NOT_DELIVERED'
    | 'ERR_DELIVERY_NOT_FOUND'
    | 'ERR_LISTEN_FAILED'
    | 'ERR_MASTER_KEY_FILE'
    | 'ERR_NOT_CONFIRMED'
    | 'ERR_NOT_PRINTED'
    | 'ERR_NOTHING_REVOKED'
    | 'ERR_RECORD_UNREADABLE'
    | 'ERR_STORE_FAILED'
    | 'ERR_SUBJECT_UNKNOWN';

  constructor(code: OperationError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The command printed its result, and found a fault in it. `--json` prints no second document. */
export class FoundError extends OperationError {}

/** The stable code of an error, for programs. */
export function codeOf(error: Error): string {
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : 'ERR_FAILED';
}

/**
 * Turns a message of commander into one in the style of our own.
 *
 * @param command the command that was called
 * @returns a new error without a cause: commander's holds what was typed, and DEBUG shows causes
 */
export function usageErrorOf({ message }: CommanderError, command: CommandPlace): UsageError {
  return new UsageError(`${asSentence(message, command)}; see ${command.place} --help`);
}

function asSentence(message: string, { flags }: CommandPlace): string {
  const [, flag = ''] = /^error: unknown option '([^'=]+)=/.exec(message) ?? [];
  if (flags.includes(flag)) return `Option ${quote(flag)} takes no value`;
  const text = message
    .replace(/^error: /, '')
    // `--option=value`: the value may be a secret.
    .replace(/^(unknown option '[^'=]+)=.*'/s, "$1'")
    .replace(/'([^']*)'/g, '"$1"')
    .replace(/\n\(Did you mean (?:one of )?(.*)\?\)$/, ' (did you mean $1?)')
    .replace(/\. (?:Expected|Allowed choices are)/, ': expected')
    .replace(/\.$/, '');
  return text.charAt(0).toUpperCase() + text.slice(1);
}
