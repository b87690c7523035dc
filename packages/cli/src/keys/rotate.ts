import type { Command } from 'commander';
import { parseDuration } from '../lib/duration.ts';
import { UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import { addStoreOptions, parseAccessKeyId } from '../lib/options.ts';
import { formatTime } from '../lib/time.ts';
import { storeAction } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { SECRET_ONCE } from './create.ts';
import { findKey } from './find-key.ts';
import { keyText, newKeyText } from './key-view.ts';
import { readPublicKeyFile } from './public-key-file.ts';

export function addRotate(keys: Command, io: Io): void {
  const rotate = keys
    .command('rotate')
    .description('make a new access key like an old one; the old one works for a while longer')
    .argument('<id>', 'the id of the old access key', parseAccessKeyId)
    .requiredOption(
      '--overlap <duration>',
      'how long the old key still works: long enough for its users to get the new one',
      (text: string) => parseDuration(text, '366d'),
    )
    .option(
      '--public-key <file>',
      'public key of the new key, in PEM or as a JWK; required if the old key has a public key',
    );
  addStoreOptions(rotate)
    .action(
      storeAction<{ overlap: number; publicKey?: string }>(
        io,
        async ({ keys: store, args, options: { overlap, publicKey: path }, output }) => {
          const old = await findKey(store, args[0] as string);
          if (old.publicKey !== undefined && path === undefined)
            throw new UsageError(
              `Cannot rotate access key "${old.accessKeyId}": it has a public key; give the new public key with --public-key`,
            );
          const publicKey =
            path === undefined ? undefined : await readPublicKeyFile(path, undefined);
          const fresh = await store.rotate(old.accessKeyId, { overlap, publicKey } as {
            overlap: number;
          });
          // From here to the printing nothing may fail: the secret cannot be read again.
          const end = Math.min(old.expiresAt ?? Number.POSITIVE_INFINITY, io.clock() + overlap);
          const document = { ...fresh, replaces: { accessKeyId: old.accessKeyId, expiresAt: end } };
          if (path === undefined) await output.secret(document, newKeyText(fresh), 'key');
          else await output.data(document, keyText(fresh, io.clock()));
          output.note(`Access key ${old.accessKeyId} works until ${formatTime(end)}`);
          if (path === undefined) output.note(SECRET_ONCE);
        },
      ),
    )
    .addHelpText(
      'after',
      examples('countersign keys rotate CSAK7Q2M5X9R4T8W3Y6Z0ABC --overlap 24h'),
    );
}
