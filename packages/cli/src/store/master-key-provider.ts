import { accessSync, constants, existsSync, statSync } from 'node:fs';
import type { MasterKeyProvider } from '@countersign/server';
import { masterKeyFile } from '@countersign/server/file';
import { findTextFlaw, quote, splitMasterKey } from '@countersign/shared';
import { UsageError } from '../lib/errors.ts';
import type { Io } from '../terminal/io.ts';
import type { Place } from './store-url.ts';

/** Master keys, and the file that they come from. */
export interface ChosenMasterKeys {
  readonly provider: MasterKeyProvider;
  readonly path?: string;
}

/**
 * Chooses where master keys come from: a named file, the environment, or the file beside a file of
 * keys. Never the command line, which all users of the machine can read.
 *
 * @throws UsageError if there is none, or one is malformed. The message holds no key.
 */
export function chooseMasterKeys(
  { env }: Io,
  { masterKeyFile: named }: { readonly masterKeyFile?: string | undefined },
  place: Place,
): ChosenMasterKeys {
  if (named !== undefined) return fromNamedFile(named);
  const given = env['COUNTERSIGN_MASTER_KEY'];
  const file = env['COUNTERSIGN_MASTER_KEY_FILE'];
  if (given && file)
    throw new UsageError(
      'Cannot use both COUNTERSIGN_MASTER_KEY and COUNTERSIGN_MASTER_KEY_FILE: unset one of them',
    );
  if (given) return { provider: parseMasterKeys(given) };
  if (file) return fromNamedFile(file);
  if (place.kind === 'file') return fromFileBeside(place.path);
  throw new UsageError(
    'Cannot open the store without a master key: set COUNTERSIGN_MASTER_KEY, or name a file with --master-key-file or COUNTERSIGN_MASTER_KEY_FILE',
  );
}

/** A named file must exist. If the command made one at a misspelt path, no server could decrypt. */
function fromNamedFile(path: string): ChosenMasterKeys {
  if (!isThere(path))
    throw new UsageError(
      `Cannot find master key file ${quote(path, 200)}: make it with countersign master-key --into`,
    );
  return { provider: masterKeyFile(path), path };
}

function fromFileBeside(keys: string): ChosenMasterKeys {
  const path = `${keys}.master-key`;
  if (existsSync(keys) && !isThere(path))
    throw new UsageError(
      `Cannot find master key file ${quote(path, 200)}, which the keys in ${quote(keys, 200)} need: restore it, or set COUNTERSIGN_MASTER_KEY`,
    );
  return { provider: masterKeyFile(path), path };
}

/**
 * Whether there is such a file. It is not read here, because a pipe can be read only once.
 *
 * @throws UsageError if it cannot be read
 */
function isThere(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    if (statSync(path).isDirectory()) throw new Error('it is a folder');
    return true;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return false;
    // Node adds the path, which the message already has.
    const why = message.replace(/, access '.*/s, '');
    throw new UsageError(`Cannot read master key file ${quote(path, 200)}: ${why}`, { cause });
  }
}

function parseMasterKeys(text: string): readonly string[] {
  const keys = text.split(',').map((key) => key.trim());
  const wrong = keys.find((key) => !isMasterKey(key));
  if (wrong === undefined) return keys;
  const flaw = findTextFlaw(wrong);
  throw new UsageError(
    `Cannot use COUNTERSIGN_MASTER_KEY: ${flaw === undefined ? '' : `${flaw}; `}expected <id>:<32 bytes in base64url>, as countersign master-key prints it, or several with commas between`,
  );
}

/**
 * Whether the text is `<id>:<32 bytes in base64url>`. The command checks this before the server
 * does, so that the message names the variable or the file.
 */
export function isMasterKey(text: string): boolean {
  return splitMasterKey(text) !== undefined;
}
