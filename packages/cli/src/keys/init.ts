import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addStoreOptions } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import { countOf } from '../store/reached.ts';
import type { Io } from '../terminal/io.ts';
import { checkReadable } from './check-readable.ts';

export function addInit(keys: Command, io: Io): void {
  const init = keys
    .command('init')
    .description('make an empty store if there is none (the first keys create does that too)');
  addStoreOptions(init)
    .action(
      storeAction(io, async ({ keys: store, output, name }) => {
        await store.createEmpty();
        const found = await store.list();
        await output.data({ keys: found.length }, '');
        output.note(`The store ${name} exists, with ${countOf(found.length)}`);
        checkReadable(found);
      }),
    )
    .addHelpText('after', examples('countersign keys init --store redis://127.0.0.1:6379'));
}
