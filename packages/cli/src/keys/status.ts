import { KeyStoreError, type ManagedKeyStore } from '@countersign/server';
import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addStoreOptions, parseAccessKeyId } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { findKey } from './find-key.ts';

export function addDisable(keys: Command, io: Io): void {
  add(keys, io, {
    name: 'disable',
    description: 'refuse an access key until it is enabled again',
    change: (store, id) => store.disable(id),
    done: 'is disabled',
  });
}

export function addEnable(keys: Command, io: Io): void {
  add(keys, io, {
    name: 'enable',
    description: 'accept a disabled access key again',
    change: (store, id) => store.enable(id),
    done: 'is enabled',
  });
}

interface Change {
  readonly name: string;
  readonly description: string;
  readonly change: (store: ManagedKeyStore, id: string) => Promise<void>;
  readonly done: string;
}

function add(keys: Command, io: Io, { name, description, change, done }: Change): void {
  const command = keys
    .command(name)
    .description(description)
    .argument('<id>', 'the id of the access key', parseAccessKeyId);
  addStoreOptions(command)
    .action(
      storeAction(io, async ({ keys: store, args, output }) => {
        const id = args[0] as string;
        await change(store, id);
        const key = await findKey(store, id);
        // If its subject was revoked, the record of a key is unchanged, but servers refuse the key.
        if (key.status === 'revoked')
          throw new KeyStoreError(
            'ERR_KEY_REVOKED',
            `Access key ${quote(id)} is revoked, with all access keys of ${quote(key.subject)}: make a new one`,
          );
        await output.data(key, '');
        output.note(`Access key ${id} ${done}`);
      }),
    )
    .addHelpText('after', examples(`countersign keys ${name} CSAK7Q2M5X9R4T8W3Y6Z0ABC`));
}
