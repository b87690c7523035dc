import { existsSync } from 'node:fs';
import type { ManagedKeyStore, MasterKeyProvider } from '@countersign/server';
import { FileKeyStore } from '@countersign/server/file';
import { RedisKeyStore } from '@countersign/server/redis';
import { quote } from '@countersign/shared';
import { UsageError } from '../lib/errors.ts';
import type { Io } from '../terminal/io.ts';
import type { Output } from '../terminal/output.ts';
import { chooseMasterKeys } from './master-key-provider.ts';
import { connectionOf, reach, TIMEOUT } from './redis-connection.ts';
import { chooseTls, type RedisTls } from './redis-tls.ts';
import { explained } from './store-failure.ts';
import { type Place, parseStoreUrl, withoutPassword } from './store-url.ts';

/** Options that name a store. */
export interface StoreOptions {
  readonly store?: string | undefined;
  readonly prefix?: string | undefined;
  readonly caFile?: string | undefined;
  readonly masterKeyFile?: string | undefined;
}

/** A store, while a command works with it. */
export interface OpenStore {
  readonly keys: ManagedKeyStore;
  readonly masterKey: MasterKeyProvider;
  /** The store as messages name it: its URL without a password, and its prefix. */
  readonly name: string;
}

const DEFAULT_URL = 'file:./countersign-keys.json';

/**
 * Opens the store that the options name, runs a command with it, and closes it.
 *
 * @throws UsageError if the options name no store
 * @throws KeyStoreError or OperationError if the store fails
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
  const prefix = choosePrefix(io, options, place);
  const name = prefix === undefined ? url : `${url} under prefix ${quote(prefix, 200)}`;
  const tls = chooseTls(io, options, place);
  const { provider: masterKey, path } = chooseMasterKeys(io, options, place);
  const isNew = path !== undefined && !existsSync(path);
  try {
    // If Redis does not answer, a store would wait for it, when it opens and when it closes.
    if (place.kind !== 'file') await reach(place, tls);
    const keys = build(place, { prefix, tls }, masterKey, io);
    await act({ keys, masterKey, name }).finally(() => keys.close());
  } catch (error) {
    throw explained(error as Error, url, place);
  }
  if (isNew && existsSync(path))
    output.note(
      `Made master key file ${quote(path, 200)}: keep a copy apart from the store, whose secrets cannot be read without it`,
    );
}

/** @throws UsageError if a password is on the command line */
export function chooseUrl({ env }: Io, { store }: Pick<StoreOptions, 'store'>): string | undefined {
  if (store !== undefined && withoutPassword(store) !== store)
    throw new UsageError(
      'Cannot take a password from the command line, because ps shows it to all users: put the URL into COUNTERSIGN_STORE',
    );
  return store ?? (env['COUNTERSIGN_STORE'] || undefined);
}

/**
 * The prefix in Redis; `undefined` for the default. A file ignores COUNTERSIGN_PREFIX.
 *
 * @throws UsageError if --prefix is given with a file
 */
function choosePrefix({ env }: Io, { prefix }: StoreOptions, { kind }: Place): string | undefined {
  if (kind !== 'file') return prefix ?? (env['COUNTERSIGN_PREFIX'] || undefined);
  if (prefix === undefined) return undefined;
  throw new UsageError('Cannot use --prefix with a file: it is for stores in Redis');
}

function build(
  place: Place,
  { prefix, tls }: { prefix: string | undefined; tls: RedisTls | undefined },
  masterKey: MasterKeyProvider,
  { clock }: Io,
): ManagedKeyStore {
  try {
    if (place.kind === 'file') return new FileKeyStore({ path: place.path, masterKey, clock });
    const redis = connectionOf(place, tls);
    return new RedisKeyStore({ redis, masterKey, prefix, timeout: TIMEOUT, clock });
  } catch (error) {
    throw new UsageError((error as Error).message, { cause: error });
  }
}
