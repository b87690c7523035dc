import type { AccessKeyOwner } from '@countersign/server';
import { type Command, Option } from 'commander';
import { storeAction } from './action.ts';
import { parseDuration } from './duration.ts';
import { UsageError } from './errors.ts';
import { examples } from './examples.ts';
import type { Io } from './io.ts';
import { newKeyText } from './key-view.ts';
import {
  addStoreOptions,
  parseAudience,
  parseLabel,
  parseScope,
  parseSubject,
  several,
} from './options.ts';
import { formatTime, parseTime } from './time.ts';

interface Options {
  readonly subject: string;
  readonly scope?: string[];
  readonly audience?: string[];
  readonly label?: string;
  readonly notBefore?: number;
  readonly expiresIn?: number;
  readonly expiresAt?: number;
}

export const SECRET_ONCE = 'Keep the secret access key now: it is not shown again';

export function addCreate(keys: Command, io: Io): void {
  const time = (text: string): number => parseTime(text, io.clock());
  const create = keys
    .command('create')
    .description('make an access key, and print its id and its secret once')
    .requiredOption('--subject <name>', 'whose key it is: a user, a service', parseSubject)
    .option('--scope <name>', 'what it may be used for; may be given again', several(parseScope))
    .option(
      '--audience <service>',
      'where it may be used; may be given again; otherwise everywhere',
      several(parseAudience),
    )
    .option('--label <text>', 'what its owner calls it', parseLabel)
    .option('--not-before <time>', 'when it begins to work, as 2026-11-24T22:30Z', time)
    .option('--expires-in <duration>', 'for how long it works, as 90d or 12h', (text: string) =>
      parseDuration(text),
    )
    .addOption(
      new Option('--expires-at <time>', 'when it stops to work')
        .argParser(time)
        .conflicts('expiresIn'),
    );
  addStoreOptions(create)
    .action(
      storeAction<Options>(io, async ({ keys: store, options, output }) => {
        const key = await store.create(ownerOf(options, io.clock()));
        await output.secret(key, newKeyText(key), 'key');
        output.note(SECRET_ONCE);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign keys create --subject alice --scope videos:parse',
        'countersign keys create --subject robot --audience video-api --expires-in 90d --json',
      ),
    );
}

function ownerOf(options: Options, now: number): AccessKeyOwner {
  const { subject, scope = [], audience, label, notBefore, expiresIn } = options;
  const expiresAt = expiresIn === undefined ? options.expiresAt : now + expiresIn;
  if (expiresAt !== undefined && !(expiresAt > Math.max(now, notBefore ?? 0)))
    throw new UsageError(
      `Cannot make a key that expires at ${formatTime(expiresAt)}: it would never work`,
    );
  return {
    subject,
    scopes: scope,
    ...(audience === undefined ? {} : { audiences: audience }),
    ...(label === undefined ? {} : { label }),
    ...(notBefore === undefined ? {} : { notBefore }),
    ...(expiresAt === undefined ? {} : { expiresAt }),
  };
}
