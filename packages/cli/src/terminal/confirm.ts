import { createInterface } from 'node:readline';
import { OperationError, UsageError } from '../lib/errors.ts';
import type { Io } from './io.ts';
import { escapeLine } from './terminal.ts';

export interface Question {
  /** What the command will do, such as "revoke access key …". */
  readonly act: string;
  /** The word to type. A `y` would be too easy. */
  readonly word: string;
  /** Whether the command line has `--yes`. */
  readonly yes?: boolean | undefined;
}

/**
 * Asks the user to confirm an act that cannot be undone.
 *
 * @throws UsageError if there is no terminal to ask on
 * @throws OperationError `ERR_NOT_CONFIRMED`
 */
export async function confirm(io: Io, { act, word, yes = false }: Question): Promise<void> {
  if (yes) return;
  if (!io.isTTY)
    throw new UsageError(`Cannot ask whether to ${act}: this is no terminal; add --yes`);
  void io.stderr.print(escapeLine(`This will ${act}. Type ${word} to confirm: `));
  const typed = await readLine(io);
  // A subject may begin with a space.
  if ([typed, typed?.trim()].includes(word)) return;
  throw new OperationError('ERR_NOT_CONFIRMED', `Did not ${act}: ${word} was not typed`);
}

/** `undefined` if the input ends, for example with Ctrl+D. */
function readLine({ stdin, stderr }: Io): Promise<string | undefined> {
  const lines = createInterface({ input: stdin, terminal: false });
  return new Promise((resolve) => {
    const end = (): void => {
      void stderr.print('\n');
      resolve(undefined);
    };
    lines.once('close', end);
    lines.once('line', (line) => {
      lines.off('close', end).close();
      resolve(line);
    });
  });
}
