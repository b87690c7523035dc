import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { quote } from '@countersign/shared';
import { UsageError } from '../lib/errors.ts';
import type { Io } from '../terminal/io.ts';
import { isTls, type Place } from './store-url.ts';

/** Settings of a TLS connection to Redis, in PEM. */
export interface RedisTls {
  /** In place of the authorities that Node trusts. */
  readonly ca?: string;
  /** The client's own certificate and its key, for a Redis that asks for them. */
  readonly cert?: string;
  readonly key?: string;
}

/**
 * Reads the certificates that the options and the environment name. For a store without TLS, the
 * environment is ignored.
 *
 * @returns `undefined` for a store without TLS
 * @throws UsageError if a file cannot be read or used, or --ca-file is given without TLS
 */
export function chooseTls(
  { env }: Pick<Io, 'env'>,
  { caFile }: { readonly caFile?: string | undefined },
  place: Place,
): RedisTls | undefined {
  if (!isTls(place)) {
    if (caFile === undefined) return undefined;
    throw new UsageError(
      'Cannot use --ca-file without TLS: it is for rediss://, rediss-cluster:// and rediss-sentinel://',
    );
  }
  const [ca, cert, key] = [
    read(
      caFile === undefined ? 'COUNTERSIGN_REDIS_CA' : '--ca-file',
      caFile ?? (env['COUNTERSIGN_REDIS_CA'] || undefined),
    ),
    read('COUNTERSIGN_REDIS_CERT', env['COUNTERSIGN_REDIS_CERT'] || undefined),
    read('COUNTERSIGN_REDIS_KEY', env['COUNTERSIGN_REDIS_KEY'] || undefined),
  ];
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError(
      'Cannot use a client certificate without its key: set both COUNTERSIGN_REDIS_CERT and COUNTERSIGN_REDIS_KEY',
    );
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  };
}

function read(name: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    const text = readFileSync(path, 'utf8');
    // Node accepts any text as authorities, and then trusts none.
    if (name !== 'COUNTERSIGN_REDIS_KEY') new X509Certificate(text);
    return text;
  } catch (cause) {
    const { code, syscall, message } = cause as NodeJS.ErrnoException;
    const why = syscall === undefined ? 'it holds no certificate in PEM' : (code ?? message);
    throw new UsageError(`Cannot read ${name} ${quote(path, 200)}: ${why}`, { cause });
  }
}
