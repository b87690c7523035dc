import type { Revocation } from '@countersign/server';
import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { storeAction } from './action.ts';
import { confirm } from './confirm.ts';
import { UsageError } from './errors.ts';
import { examples } from './examples.ts';
import type { Io } from './io.ts';
import { addStoreOptions, parseSessionId, parseSubject } from './options.ts';

interface Options {
  readonly subject?: string;
  readonly everybody?: boolean;
  readonly yes?: boolean;
}

/** What is to be revoked, and how it is asked about. */
interface Plan {
  readonly revocation: Revocation;
  readonly act: string;
  readonly word: string;
}

export function addRevoke(sessions: Command, io: Io): void {
  const revoke = sessions
    .command('revoke')
    .description('end sessions for good: one, all that a subject has, or all that there are')
    .argument('[id]', 'the id of the session', parseSessionId)
    .option('--subject <name>', 'all sessions that somebody has now', parseSubject)
    .option('--everybody', 'all sessions that there are')
    .option('--yes', 'do not ask');
  addStoreOptions(revoke)
    .action(
      storeAction<Options>(io, async ({ keys, args: [id], options, output }) => {
        const { revocation, act, word } = plan(id, options);
        await confirm(io, { act, word, yes: options.yes });
        await keys.revoke(revocation);
        await output.data({ revoked: revocation }, '');
        output.note(`Done: ${act}`);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign sessions revoke CSSK7Q2M5X9R4T8W3Y6Z0ABC',
        'countersign sessions revoke --subject alice',
        'countersign sessions revoke --everybody --yes',
      ),
    );
}

function plan(id: string | undefined, { subject, everybody }: Options): Plan {
  if ([id, subject, everybody].filter((it) => it !== undefined).length !== 1)
    throw new UsageError(
      'Cannot tell which sessions to revoke: give one of an id, --subject and --everybody',
    );
  if (id !== undefined)
    return {
      revocation: { accessKeyId: id },
      act: `revoke session ${id} for good`,
      word: id,
    };
  if (subject !== undefined)
    return {
      revocation: { subject, only: 'sessions' },
      act: `revoke all sessions of ${quote(subject)} for good`,
      word: subject,
    };
  return {
    revocation: { everybody: 'sessions' },
    act: 'revoke all sessions of everybody for good',
    word: 'everybody',
  };
}
