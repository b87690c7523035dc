import { createInterface } from 'node:readline';
import { OperationError, UsageError } from '../lib/errors.ts';
import type { Io } from './io.ts';
import { escapeLine } from './terminal.ts';

export interface Question {
  /** What is about to be done, as in "revoke access key …". */
  readonly act: string;
  /** What must be typed: a `y` is typed too easily. */
  readonly word: string;
  /** Whether the command line says so already. */
  readonly yes?: boolean | undefined;
}

/**
 * Makes sure that somebody wants what cannot be taken back.
 *
 * @throws UsageError where nobody can be asked
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

/** `undefined` where the input ends, as with Ctrl+C or Ctrl+D. */
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
