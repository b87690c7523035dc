import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { KeyStoreError, type ManagedKeyStore, type MasterKeySource } from '@countersign/server';
import { FileKeyStore } from '@countersign/server/file';
import { RedisKeyStore } from '@countersign/server/redis';
import { quote } from '@countersign/shared';
import { Cluster, Redis } from 'ioredis';
import { isUsageError, OperationError, UsageError } from './errors.ts';
import type { Io } from './io.ts';
import { chooseMasterKeys } from './master-key-source.ts';
import type { Output } from './output.ts';
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
/** Seconds: somebody waits, but no request does. */
const TIMEOUT = 5;

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
  const text = chooseUrl(io, options);
  const place = parseStoreUrl(text);
  const url = withoutPassword(text);
  const { source: masterKey, path } = chooseMasterKeys(io, options, place);
  const isNew = path !== undefined && !existsSync(path);
  const { keys, close } = build(place, options, masterKey, io);
  try {
    await act({ keys, masterKey, url });
  } catch (error) {
    throw explained(error as Error, url, place);
  } finally {
    await close();
  }
  if (isNew && existsSync(path))
    output.note(
      `Made master key file ${quote(path, 200)}: keep a copy apart from the keys, which nobody can open without it`,
    );
}

function chooseUrl({ env }: Io, { store }: StoreOptions): string {
  if (store !== undefined && withoutPassword(store) !== store)
    throw new UsageError(
      'Cannot take a password from the command line, where ps shows it to everybody: put the URL into COUNTERSIGN_STORE',
    );
  return store ?? (env['COUNTERSIGN_STORE'] || DEFAULT_URL);
}

function build(
  place: Place,
  { prefix }: StoreOptions,
  masterKey: MasterKeySource,
  { clock }: Io,
): { keys: ManagedKeyStore; close: () => Promise<void> } {
  try {
    if (place.kind === 'file') {
      if (prefix !== undefined)
        throw new UsageError('Cannot use --prefix with a file: it is for stores in Redis');
      const keys = new FileKeyStore({ path: place.path, masterKey, clock });
      return { keys, close: () => keys.close() };
    }
    // The store makes connections of its own of this one, which is never opened.
    const redis = place.kind === 'redis' ? new Redis(place.url, LAZY) : clusterOf(place);
    const keys = new RedisKeyStore({ redis, masterKey, prefix, timeout: TIMEOUT, clock });
    return { keys, close: () => keys.close() };
  } catch (error) {
    throw isUsageError(error) ? error : new UsageError((error as Error).message, { cause: error });
  }
}

const LAZY = { lazyConnect: true };

function clusterOf({ nodes, username, password }: Extract<Place, { kind: 'cluster' }>): Cluster {
  const redisOptions = {
    ...(username === '' ? {} : { username }),
    ...(password === '' ? {} : { password }),
  };
  return new Cluster([...nodes], { ...LAZY, redisOptions });
}

/** What systems and Redis say, with the store that they say it of. */
function explained(error: Error, url: string, place: Place): Error {
  const known = [KeyStoreError, OperationError, TypeError, RangeError];
  if (isUsageError(error) || known.some((kind) => error instanceof kind)) return error;
  return new OperationError(
    'ERR_STORE_FAILED',
    `Cannot use store ${quote(url, 200)}: ${reasonOf(error, place)}`,
    { cause: error },
  );
}

function reasonOf(error: NodeJS.ErrnoException, place: Place): string {
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return `no answer within ${TIMEOUT} s`;
  if (error.code === 'ENOENT' && place.kind === 'file')
    return `there is no folder ${quote(dirname(place.path), 200)}`;
  return error.message.replace(/\.$/, '');
}
