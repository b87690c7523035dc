import type { Command } from 'commander';
import { storeAction } from './action.ts';
import { parseDuration } from './duration.ts';
import { examples } from './examples.ts';
import { findKey } from './find-key.ts';
import type { Io } from './io.ts';
import { newKeyText } from './key-view.ts';
import { SECRET_ONCE } from './keys-create.ts';
import { addStoreOptions, parseAccessKeyId } from './options.ts';
import { formatTime } from './time.ts';

export function addRotate(keys: Command, io: Io): void {
  const rotate = keys
    .command('rotate')
    .description('make a new access key like an old one, which goes on working for a while')
    .argument('<id>', 'the id of the old access key', parseAccessKeyId)
    .requiredOption(
      '--overlap <duration>',
      'for how long the old one still works: longer than its users take to fetch the new one',
      (text: string) => parseDuration(text, '366d'),
    );
  addStoreOptions(rotate)
    .action(
      storeAction<{ overlap: number }>(
        io,
        async ({ keys: store, args, options: { overlap }, output }) => {
          const old = await findKey(store, args[0] as string);
          const fresh = await store.rotate(old.accessKeyId, { overlap });
          // Nothing may fail now before the secret is printed: nobody could ask for it again.
          const end = Math.min(old.expiresAt ?? Number.POSITIVE_INFINITY, io.clock() + overlap);
          const document = { ...fresh, replaces: { accessKeyId: old.accessKeyId, expiresAt: end } };
          await output.secret(document, newKeyText(fresh), 'key');
          output.note(`Access key ${old.accessKeyId} works until ${formatTime(end)}`);
          output.note(SECRET_ONCE);
        },
      ),
    )
    .addHelpText(
      'after',
      examples('countersign keys rotate CSAK7Q2M5X9R4T8W3Y6Z0ABC --overlap 24h'),
    );
}
