import type { ManagedKeyStore } from '@countersign/server';
import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { OperationError, UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import { addStoreOptions, parseAccessKeyId, parseSubject } from '../lib/options.ts';
import { formatTime, parseTime } from '../lib/time.ts';
import { storeAction } from '../store/action.ts';
import { countOf, countReached, isNothing, type Reached } from '../store/reached.ts';
import type { RevocationPlan } from '../store/revocation-plan.ts';
import { isUnreadable } from '../store/unreadable.ts';
import { confirm } from '../terminal/confirm.ts';
import type { Io } from '../terminal/io.ts';
import { findKey } from './find-key.ts';

interface Options {
  readonly subject?: string;
  readonly signedBefore?: number;
  readonly yes?: boolean;
}

interface Plan extends RevocationPlan {
  /** How many access keys are revoked or limited, unless it is a single one. */
  readonly accessKeys?: number;
  /** Printed in place of `done` if the subject may not exist. */
  readonly doubt?: string;
}

export function addRevoke(keys: Command, io: Io): void {
  const revoke = keys
    .command('revoke')
    .description(
      'revoke permanently: one access key, all of a subject, or what was signed before a time',
    )
    .argument('[id]', 'the id of the access key', parseAccessKeyId)
    .option(
      '--subject <name>',
      'all access keys and sessions that this subject has now',
      parseSubject,
    )
    .option(
      '--signed-before <time>',
      'all signatures and sessions from before this time, of all subjects or of --subject: now, or as 2026-11-24T22:30Z',
      (text: string) => parsePast(text, io.clock()),
    )
    .option('--yes', 'do not ask');
  addStoreOptions(revoke)
    .action(
      storeAction<Options>(io, async ({ keys: store, args: [id], options, output, name }) => {
        const { revocation, act, word, done, accessKeys, doubt } = await plan(
          { store, name },
          id,
          options,
        );
        await confirm(io, { act, word, yes: options.yes });
        await store.revoke(revocation);
        if (doubt !== undefined) throw new OperationError('ERR_SUBJECT_UNKNOWN', doubt);
        await output.data({ revoked: revocation, accessKeys }, '');
        output.note(done);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign keys revoke CSAK7Q2M5X9R4T8W3Y6Z0ABC',
        'countersign keys revoke --subject alice --yes',
        'countersign keys revoke --signed-before now --subject alice   # log out everywhere',
      ),
    );
}

function parsePast(text: string, now: number): number {
  const time = parseTime(text, now);
  if (time <= now) return time;
  throw new UsageError(
    `Cannot revoke what was signed before ${quote(text)}: this time is in the future; give now or an earlier time`,
  );
}

interface NamedStore {
  readonly store: ManagedKeyStore;
  readonly name: string;
}

async function plan(
  named: NamedStore,
  id: string | undefined,
  { subject, signedBefore }: Options,
): Promise<Plan> {
  if (id !== undefined) {
    if (subject !== undefined || signedBefore !== undefined)
      throw new UsageError(
        `Cannot revoke ${quote(id)} together with --subject or --signed-before: give the id, or the options`,
      );
    if (id.startsWith('CSSK'))
      throw new UsageError(
        `Cannot revoke access key ${quote(id)}: it is a session; use countersign sessions revoke`,
      );
    const what = `access key ${id}${await ownerOf(named.store, id)}`;
    return {
      revocation: { accessKeyId: id },
      act: `revoke ${what} permanently`,
      word: id,
      done: `Revoked ${what} permanently`,
    };
  }
  if (signedBefore !== undefined) return planSignedBefore(named, signedBefore, subject);
  if (subject === undefined)
    throw new UsageError('Cannot tell what to revoke: give an id, --subject or --signed-before');
  const reached = await reachedOf(named, subject);
  return {
    revocation: { subject },
    act: `revoke all access keys (${reached.keys}) and sessions of ${quote(subject)} permanently`,
    word: subject,
    done: `Revoked ${formatReached(reached)} of ${quote(subject)} permanently, and all sessions issued to it until now`,
    accessKeys: reached.keys,
    ...doubtOf(named, subject, reached),
  };
}

async function planSignedBefore(
  named: NamedStore,
  signedBefore: number,
  subject: string | undefined,
): Promise<Plan> {
  const reached = await reachedOf(named, subject);
  const whose = subject === undefined ? 'all subjects' : quote(subject);
  const time = formatTime(signedBefore);
  return {
    revocation: { signedBefore, ...(subject === undefined ? {} : { subject }) },
    act: `revoke what ${whose} signed before ${time}, and the sessions that began before`,
    word: subject ?? 'everybody',
    done: `Revoked what ${whose} signed before ${time} with ${formatReached(reached)}, and the sessions that began before`,
    accessKeys: reached.keys,
    ...(subject === undefined ? {} : doubtOf(named, subject, reached)),
  };
}

/** @throws OperationError `ERR_NOTHING_REVOKED`, before the command asks or changes anything */
async function reachedOf({ store, name }: NamedStore, subject?: string): Promise<Reached> {
  const reached = await countReached(store, subject);
  if (!isNothing(reached)) return reached;
  const whose = subject === undefined ? '' : ` of ${quote(subject)}`;
  throw new OperationError(
    'ERR_NOTHING_REVOKED',
    `Revoked nothing: there is no access key${whose} in ${name}, and no session was ever issued with it`,
  );
}

function formatReached({ keys, revokedBefore, unreadable }: Reached): string {
  const more = [
    ...(revokedBefore === 0 ? [] : [`${revokedBefore} revoked before`]),
    ...(unreadable === 0 ? [] : [`${unreadable} unreadable`]),
  ];
  return `${countOf(keys)}${more.length === 0 ? '' : ` (besides ${more.join(', ')})`}`;
}

/**
 * A misspelt subject must not look like success. But a subject may also have only sessions, so the
 * command revokes all the same.
 */
function doubtOf(
  { name }: NamedStore,
  subject: string,
  { keys, revokedBefore, unreadable, sessions }: Reached,
): { doubt?: string } {
  if (keys + revokedBefore > 0) return {};
  const perhaps = unreadable === 0 ? '' : `; ${countOf(unreadable)} there cannot be read`;
  const then = sessions
    ? `revoked the sessions issued to it until now, if there are any; check the name`
    : `revoked what cannot be read, if it is of this subject; check the name`;
  return {
    doubt: `There is no access key of ${quote(subject)} in ${name}${perhaps}; ${then}`,
  };
}

/** A key can be revoked even if its record cannot be read, so its owner is unknown. */
async function ownerOf(store: ManagedKeyStore, id: string): Promise<string> {
  try {
    const { subject } = await findKey(store, id);
    return subject === '' ? '' : ` of ${quote(subject)}`;
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    return ', whose record cannot be read,';
  }
}
