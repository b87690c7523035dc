import { dirname } from 'node:path';
import { KeyStoreError } from '@countersign/server';
import { quote } from '@countersign/shared';
import { OperationError, UsageError } from '../lib/errors.ts';
import { TIMEOUT } from './redis-connection.ts';
import { isTls, type Place } from './store-url.ts';

/** Codes of Node for a certificate of an unknown authority. */
const AUTHORITY = /SELF_SIGNED_CERT|^UNABLE_TO_(?:VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT)/;

/** An error of the system or of Redis, with the store and with advice. */
export function explained(error: Error, url: string, place: Place): Error {
  const known = [KeyStoreError, OperationError, UsageError, TypeError, RangeError];
  for (const it of [error, error.cause])
    if (known.some((kind) => it instanceof kind)) return it as Error;
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
  if (AUTHORITY.test(error.code ?? ''))
    return `${error.message}; name the authority of its certificate with --ca-file or COUNTERSIGN_REDIS_CA`;
  if (error.code === 'ECONNRESET' || error.message === 'Connection is closed.')
    return `it closed the connection${isTls(place) ? '' : '; if it expects TLS, write rediss in place of redis'}`;
  if (/\b(?:MOVED|CROSSSLOT)\b/.test(error.message))
    return 'it is a node of a Redis Cluster; write redis-cluster://HOST:PORT,HOST:PORT';
  if (error.message.startsWith('NOAUTH'))
    return 'it asks for a password; put the URL with it into COUNTERSIGN_STORE';
  return error.message.replace(/\.$/, '');
}
