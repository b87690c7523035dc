import * as z from 'zod';
import { OperatorWarnings, type WarningHook, warningOption } from '../../lib/operator-warning.ts';
import { clockOption, parseOptions } from '../../lib/options.ts';
import { ManagedKeyStore } from '../managed-key-store.ts';
import { masterKeyOption } from '../master-key-option.ts';
import { type MasterKeyProvider, MasterKeys } from '../master-keys.ts';
import { FileRecords } from './file-records.ts';

export interface FileKeyStoreOptions {
  /** The path of the file. Its folder must exist. */
  readonly path: string;
  /** What secrets are sealed with: see {@link MasterKeyProvider}. */
  readonly masterKey: MasterKeyProvider;
  /** Unix seconds; the system's clock if not given. */
  readonly clock?: (() => number) | undefined;
  /**
   * Called if the operator must know something of the store, such as that its file is gone or
   * cannot be read. If not given, process warnings say so. See docs/errors.md, "Process warnings".
   */
  readonly onWarning?: WarningHook | undefined;
}

const optionsSchema = z.strictObject({
  path: z.string().min(1),
  masterKey: masterKeyOption('masterKeyFile(path)'),
  clock: clockOption,
  onWarning: warningOption,
});

/**
 * Access keys in one file, for the servers and commands of one machine. Secrets are sealed. Only
 * its owner can read the file, and it is always replaced as a whole. Other processes see a change
 * within a moment, and if two processes write at once, both changes are kept. If the file is gone,
 * the store says so (`ERR_STORE_EMPTY`, and a process warning). It does not say that a key is
 * unknown.
 *
 * @example
 * ```ts no-run
 * import { FileKeyStore, masterKeyFile } from '@countersign/server/file';
 *
 * const masterKey = masterKeyFile('keys.json.master-key');
 * const keys = new FileKeyStore({ path: 'keys.json', masterKey });
 * const { accessKeyId, secretAccessKey } = await keys.create({ subject: 'alice' });
 * ```
 * @see docs/keys.md
 */
export class FileKeyStore extends ManagedKeyStore {
  /** @throws TypeError naming the option that cannot be used */
  constructor(options: FileKeyStoreOptions) {
    const { path, masterKey, clock, onWarning } = parseOptions(
      'FileKeyStore',
      optionsSchema,
      options,
    );
    const warnings = new OperatorWarnings(onWarning);
    super(new FileRecords(path, new MasterKeys(masterKey), clock, warnings), clock, warnings);
  }
}
