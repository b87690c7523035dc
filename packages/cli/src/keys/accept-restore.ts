import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addStoreOptions } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import { countOf } from '../store/reached.ts';
import { confirm } from '../terminal/confirm.ts';
import type { Io } from '../terminal/io.ts';

interface Options {
  readonly yes?: boolean;
}

export function addAcceptRestore(keys: Command, io: Io): void {
  const accept = keys
    .command('accept-restore')
    .description('accept an older copy of the store; first revoke again what was revoked since')
    .option('--yes', 'do not ask');
  addStoreOptions(accept)
    .action(
      storeAction<Options>(io, async ({ keys: store, options, output, name }) => {
        const { length } = await store.list();
        const act = `accept the store ${name} with ${countOf(length)}: what was revoked after this copy, and not revoked again, works again`;
        await confirm(io, { act, word: 'accept', yes: options.yes });
        await store.acceptRestore();
        await output.data({ keys: length }, '');
        output.note(`Accepted the store ${name} with ${countOf(length)}`);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign keys revoke CSAK7Q2M5X9R4T8W3Y6Z0ABC   # each key that was revoked since',
        'countersign keys accept-restore',
      ),
    );
}
