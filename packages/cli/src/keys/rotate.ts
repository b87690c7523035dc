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
    .description('make a new access key like an old one, which goes on working for a while')
    .argument('<id>', 'the id of the old access key', parseAccessKeyId)
    .requiredOption(
      '--overlap <duration>',
      'for how long the old one still works: longer than its users take to fetch the new one',
      (text: string) => parseDuration(text, '366d'),
    )
    .option(
      '--public-key <file>',
      'the public key of the new one, in PEM or as a JWK; needed if the old one has a public key',
    );
  addStoreOptions(rotate)
    .action(
      storeAction<{ overlap: number; publicKey?: string }>(
        io,
        async ({ keys: store, args, options: { overlap, publicKey: path }, output }) => {
          const old = await findKey(store, args[0] as string);
          if (old.publicKey !== undefined && path === undefined)
            throw new UsageError(
              `Cannot rotate access key "${old.accessKeyId}": it has a public key, so give the new one with --public-key`,
            );
          const publicKey =
            path === undefined ? undefined : await readPublicKeyFile(path, undefined);
          const fresh = await store.rotate(old.accessKeyId, { overlap, publicKey } as {
            overlap: number;
          });
          // Nothing may fail now before the secret is printed: nobody could ask for it again.
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
