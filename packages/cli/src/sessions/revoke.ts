import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { OperationError, UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import { addStoreOptions, parseSessionId, parseSubject } from '../lib/options.ts';
import { storeAction } from '../store/action.ts';
import { countOf, countReached, type Reached } from '../store/reached.ts';
import type { RevocationPlan } from '../store/revocation-plan.ts';
import { confirm } from '../terminal/confirm.ts';
import type { Io } from '../terminal/io.ts';

interface Options {
  readonly subject?: string;
  readonly everybody?: boolean;
  readonly yes?: boolean;
}

export function addRevoke(sessions: Command, io: Io): void {
  const revoke = sessions
    .command('revoke')
    .description('end sessions permanently: one, all of a subject, or all')
    .argument('[id]', 'the id of the session', parseSessionId)
    .option('--subject <name>', 'all sessions that this subject has now', parseSubject)
    .option('--everybody', 'all sessions of all subjects')
    .option('--yes', 'do not ask');
  addStoreOptions(revoke)
    .action(
      storeAction<Options>(io, async ({ keys, args: [id], options, output, name }) => {
        checkOptions(id, options);
        const reached = await countReached(keys, options.subject);
        if (!reached.sessions)
          throw new OperationError(
            'ERR_NOTHING_REVOKED',
            `Revoked nothing: no session was ever issued with ${name}`,
          );
        const { revocation, act, word, done } = plan(id, options, reached, name);
        await confirm(io, { act, word, yes: options.yes });
        await keys.revoke(revocation);
        await output.data({ revoked: revocation }, '');
        output.note(done);
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

function checkOptions(id: string | undefined, { subject, everybody }: Options): void {
  if ([id, subject, everybody].filter((it) => it !== undefined).length !== 1)
    throw new UsageError(
      'Cannot tell which sessions to revoke: give one of an id, --subject and --everybody',
    );
}

/** Sessions are not stored, so the messages say only what is known. */
function plan(
  id: string | undefined,
  { subject }: Options,
  { keys, revokedBefore }: Reached,
  name: string,
): RevocationPlan {
  if (id !== undefined)
    return {
      revocation: { accessKeyId: id },
      act: `revoke session ${id} permanently`,
      word: id,
      done: `Revoked session ${id} permanently, if it was ever issued: sessions are not stored`,
    };
  if (subject !== undefined) {
    const unknown =
      keys + revokedBefore === 0 ? `. There is no access key of ${quote(subject)} in ${name}` : '';
    return {
      revocation: { subject, only: 'sessions' },
      act: `revoke all sessions of ${quote(subject)} permanently`,
      word: subject,
      done: `Revoked all sessions issued to ${quote(subject)} until now, if there are any${unknown}`,
    };
  }
  return {
    revocation: { everybody: 'sessions' },
    act: 'revoke all sessions of all subjects permanently',
    word: 'everybody',
    done: `Revoked all sessions issued until now, but no access key: ${name} has ${countOf(keys)} not revoked`,
  };
}
