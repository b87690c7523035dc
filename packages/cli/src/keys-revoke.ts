import { KeyStoreError, type ManagedKeyStore, type Revocation } from '@countersign/server';
import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { storeAction } from './action.ts';
import { confirm } from './confirm.ts';
import { UsageError } from './errors.ts';
import { examples } from './examples.ts';
import { findKey } from './find-key.ts';
import type { Io } from './io.ts';
import { addStoreOptions, parseAccessKeyId, parseSubject } from './options.ts';
import { formatTime, parseTime } from './time.ts';

interface Options {
  readonly subject?: string;
  readonly signedBefore?: number;
  readonly yes?: boolean;
}

/** What is to be revoked, and how it is asked about. */
interface Plan {
  readonly revocation: Revocation;
  readonly act: string;
  readonly word: string;
}

const UNREADABLE: readonly string[] = ['ERR_MASTER_KEY', 'ERR_RECORD_UNREADABLE'];

export function addRevoke(keys: Command, io: Io): void {
  const revoke = keys
    .command('revoke')
    .description('revoke for good: an access key, all of a subject, or all that was signed before')
    .argument('[id]', 'the id of the access key', parseAccessKeyId)
    .option('--subject <name>', 'all access keys and sessions that somebody has now', parseSubject)
    .option(
      '--signed-before <time>',
      'all that was signed earlier and all sessions that began earlier, of everybody or of --subject: now, or as 2026-11-24T22:30Z',
      (text: string) => parsePast(text, io.clock()),
    )
    .option('--yes', 'do not ask');
  addStoreOptions(revoke)
    .action(
      storeAction<Options>(io, async ({ keys: store, args: [id], options, output }) => {
        const { revocation, act, word } = await plan(store, id, options);
        await confirm(io, { act, word, yes: options.yes });
        await store.revoke(revocation);
        await output.data({ revoked: revocation }, '');
        output.note(`Done: ${act}`);
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
  throw new UsageError(`Cannot revoke what is signed before ${quote(text)}: it lies ahead`);
}

async function plan(
  store: ManagedKeyStore,
  id: string | undefined,
  { subject, signedBefore }: Options,
): Promise<Plan> {
  if (id !== undefined) {
    if (subject !== undefined || signedBefore !== undefined)
      throw new UsageError(
        `Cannot revoke ${quote(id)} and more at once: give an id, or --subject and --signed-before`,
      );
    if (id.startsWith('CSSK'))
      throw new UsageError(
        `Cannot revoke access key ${quote(id)}: it is a session; use countersign sessions revoke`,
      );
    const act = `revoke access key ${id}${await ownerOf(store, id)} for good`;
    return { revocation: { accessKeyId: id }, act, word: id };
  }
  if (signedBefore !== undefined) {
    const whose = subject === undefined ? 'everybody' : quote(subject);
    return {
      revocation: { signedBefore, ...(subject === undefined ? {} : { subject }) },
      act: `revoke what ${whose} signed before ${formatTime(signedBefore)}, and the sessions begun before`,
      word: subject ?? 'everybody',
    };
  }
  if (subject === undefined)
    throw new UsageError('Cannot revoke nothing: give an id, --subject or --signed-before');
  const keys = await store.list({ subject });
  const { length } = keys.filter(({ status }) => status !== 'unreadable');
  return {
    revocation: { subject },
    act: `revoke all access keys (${length}) and sessions of ${quote(subject)} for good`,
    word: subject,
  };
}

/** A key can be revoked also where nobody knows whose it is. */
async function ownerOf(store: ManagedKeyStore, id: string): Promise<string> {
  try {
    const { subject } = await findKey(store, id);
    return subject === '' ? '' : ` of ${quote(subject)}`;
  } catch (error) {
    if (!(error instanceof KeyStoreError) || !UNREADABLE.includes(error.code)) throw error;
    return ', whose record cannot be opened,';
  }
}
