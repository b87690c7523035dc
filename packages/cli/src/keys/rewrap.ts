import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addStoreOptions } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';

export function addRewrap(keys: Command, io: Io): void {
  const rewrap = keys
    .command('rewrap')
    .description(
      'encrypt all secrets with the first master key, so that you can remove the others',
    );
  addStoreOptions(rewrap)
    .action(
      storeAction(io, async ({ keys: store, output }) => {
        const records = await store.rewrap();
        await output.data({ records }, '');
        output.note(`Sealed ${records} records with the first master key`);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign master-key --into countersign-keys.json.master-key --id 2026-12',
        'countersign keys rewrap   # then remove the lines below the first',
      ),
    );
}
