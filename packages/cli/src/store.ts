import { existsSync } from 'node:fs';
import type { ManagedKeyStore, MasterKeySource } from '@countersign/server';
import { FileKeyStore } from '@countersign/server/file';
import { RedisKeyStore } from '@countersign/server/redis';
import { quote } from '@countersign/shared';
import { UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { chooseMasterKeys } from './master-key-source.ts';
import type { Output } from './output.ts';
import { connectionOf, reach, TIMEOUT } from './redis-connection.ts';
import { explained } from './store-failure.ts';
import { type Place, parseStoreUrl, withoutPassword } from './store-url.ts';

/** Which store, as the command line says. */
export interface StoreOptions {
  readonly store?: string | undefined;
  readonly prefix?: string | undefined;
  readonly masterKeyFile?: string | undefined;
}

/** A store, while a command works with it. */
export interface OpenStore {
  readonly keys: ManagedKeyStore;
  readonly masterKey: MasterKeySource;
  /** As it can be shown. */
  readonly url: string;
}

const DEFAULT_URL = 'file:./countersign-keys.json';

/**
 * Opens the store that is asked for, lets a command work with it, and closes it.
 *
 * @throws UsageError where it cannot be known which store
 * @throws KeyStoreError or OperationError where the store fails
 */
export async function withStore(
  io: Io,
  options: StoreOptions,
  output: Output,
  act: (open: OpenStore) => Promise<void>,
): Promise<void> {
  const text = chooseUrl(io, options) ?? DEFAULT_URL;
  const place = parseStoreUrl(text);
  const url = withoutPassword(text);
  if (place.kind === 'file' && options.prefix !== undefined)
    throw new UsageError('Cannot use --prefix with a file: it is for stores in Redis');
  const { source: masterKey, path } = chooseMasterKeys(io, options, place);
  const isNew = path !== undefined && !existsSync(path);
  try {
    // A store would wait for one that does not answer, and for its own connections when it is closed.
    if (place.kind !== 'file') await reach(place);
    const keys = build(place, options, masterKey, io);
    await act({ keys, masterKey, url }).finally(() => keys.close());
  } catch (error) {
    throw explained(error as Error, url, place);
  }
  if (isNew && existsSync(path))
    output.note(
      `Made master key file ${quote(path, 200)}: keep a copy apart from the keys, which nobody can open without it`,
    );
}

/** @throws UsageError where a password would be on the command line */
export function chooseUrl({ env }: Io, { store }: Pick<StoreOptions, 'store'>): string | undefined {
  if (store !== undefined && withoutPassword(store) !== store)
    throw new UsageError(
      'Cannot take a password from the command line, where ps shows it to everybody: put the URL into COUNTERSIGN_STORE',
    );
  return store ?? (env['COUNTERSIGN_STORE'] || undefined);
}

function build(
  place: Place,
  { prefix }: StoreOptions,
  masterKey: MasterKeySource,
  { clock }: Io,
): ManagedKeyStore {
  try {
    if (place.kind === 'file') return new FileKeyStore({ path: place.path, masterKey, clock });
    const redis = connectionOf(place);
    return new RedisKeyStore({ redis, masterKey, prefix, timeout: TIMEOUT, clock });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
