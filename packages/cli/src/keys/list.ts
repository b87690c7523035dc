import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addStoreOptions, parseAccessKeyId, parseSubject } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { checkReadable } from './check-readable.ts';
import { findKey } from './find-key.ts';
import { keyTable, keyText } from './key-view.ts';

export function addList(keys: Command, io: Io): void {
  const list = keys
    .command('list')
    .description('list access keys, oldest first, without their secrets')
    .option('--subject <name>', 'only keys of this subject; default all', parseSubject);
  addStoreOptions(list)
    .action(
      storeAction<{ subject?: string }>(io, async ({ keys: store, options, output, name }) => {
        const found = await store.list({ subject: options.subject });
        await output.data(found, found.length === 0 ? '' : keyTable(found, io.clock()));
        if (found.length === 0) output.note(`There are no such access keys in ${name}`);
        checkReadable(found);
      }),
    )
    .addHelpText(
      'after',
      examples('countersign keys list', 'countersign keys list --subject alice --json'),
    );
}

export function addShow(keys: Command, io: Io): void {
  const show = keys
    .command('show')
    .description('show an access key, without its secret')
    .argument('<id>', 'the id of the access key', parseAccessKeyId);
  addStoreOptions(show)
    .action(
      storeAction(io, async ({ keys: store, args: [id], output }) => {
        const key = await findKey(store, id as string);
        await output.data(key, keyText(key, io.clock()));
      }),
    )
    .addHelpText('after', examples('countersign keys show CSAK7Q2M5X9R4T8W3Y6Z0ABC'));
}
