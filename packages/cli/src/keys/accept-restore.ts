import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addStoreOptions } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import { confirm } from '../terminal/confirm.ts';
import type { Io } from '../terminal/io.ts';

interface Options {
  readonly yes?: boolean;
}

export function addAcceptRestore(keys: Command, io: Io): void {
  const accept = keys
    .command('accept-restore')
    .description(
      'go on with an older copy of the store, after what was revoked since is revoked again',
    )
    .option('--yes', 'do not ask');
  addStoreOptions(accept)
    .action(
      storeAction<Options>(io, async ({ keys: store, options, output, name }) => {
        const { length } = await store.list();
        const act = `accept the store ${name} as it is, with ${length} access keys: what was revoked in a later one, and not again, works again`;
        await confirm(io, { act, word: 'accept', yes: options.yes });
        await store.acceptRestore();
        await output.data({ keys: length }, '');
        output.note(`The store ${name} is accepted, with ${length} access keys`);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign keys revoke CSAK7Q2M5X9R4T8W3Y6Z0ABC   # each that was revoked since',
        'countersign keys accept-restore',
      ),
    );
}
