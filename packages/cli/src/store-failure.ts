import { dirname } from 'node:path';
import { KeyStoreError } from '@countersign/server';
import { quote } from '@countersign/shared';
import { OperationError, UsageError } from './errors.ts';
import { TIMEOUT } from './redis-connection.ts';
import type { Place } from './store-url.ts';

/** What systems and Redis say, with the store that they say it of. */
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
  if (error.message.startsWith('NOAUTH'))
    return 'it asks for a password; put the URL with it into COUNTERSIGN_STORE';
  return error.message.replace(/\.$/, '');
}
