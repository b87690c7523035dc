import { generateMasterKey } from '@countersign/server';
import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import { addJsonOption } from '../lib/options.ts';
import { action } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { addMasterKeyTo } from './master-key-file.ts';

interface Options {
  readonly id?: string;
  readonly into?: string;
}

/** The command that makes a master key. */
export function addMasterKey(program: Command, io: Io): void {
  const masterKey = program
    .command('master-key')
    .description('make a master key, which encrypts secrets')
    .option('--id <name>', 'id of the master key; default the date of today', parseId)
    .option(
      '--into <path>',
      'add it as the first line of a file, or make the file, in place of printing it',
    );
  addJsonOption(masterKey)
    .action(
      action<Options>(io, async ({ options, output }) => {
        const { id = today(io), into } = options;
        const key = generateMasterKey(id);
        if (into === undefined) {
          await output.data({ masterKey: key }, `${key}\n`);
          output.note('Keep the master key apart from the store that it encrypts');
          return;
        }
        await addMasterKeyTo(into, id, key);
        await output.data({ path: into, id }, '');
        output.note(`Added master key ${id} as the first in ${quote(into, 200)}`);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'export COUNTERSIGN_MASTER_KEY=$(countersign master-key)',
        'countersign master-key --into /etc/video-api/master-key --id 2026-12',
      ),
    );
}

/** The server does not export its check of the same shape. We check first, to name the option. */
function parseId(text: string): string {
  if (/^[\w-]{1,64}$/.test(text)) return text;
  throw new UsageError(
    `Cannot use master key id ${quote(text)}: expected 1 to 64 of A-Z a-z 0-9 _ -`,
  );
}

function today({ clock }: Io): string {
  return new Date(clock() * 1000).toISOString().slice(0, 10);
}
