import type { SessionCredentials } from '@countersign/server/sessions';
import { createSessions } from '@countersign/server/sessions';
import type { Command } from 'commander';
import { parseDuration } from '../lib/duration.ts';
import { UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import {
  addStoreOptions,
  parseAudience,
  parseIssuer,
  parseScope,
  parseSubject,
  several,
} from '../lib/options.ts';
import { formatTime } from '../lib/time.ts';
import { storeAction } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { formatFields } from '../terminal/table.ts';

interface Options {
  readonly subject: string;
  readonly audience: string;
  readonly scope?: string[];
  readonly ttl?: number;
  readonly issuer?: string;
}

/** The longest life of any session. */
const LONGEST = '7d';

export function addIssue(sessions: Command, io: Io): void {
  const issue = sessions
    .command('issue')
    .description('issue session credentials, and print them once')
    .requiredOption('--subject <name>', 'owner of the session', parseSubject)
    .requiredOption('--audience <service>', 'the one service that accepts it', parseAudience)
    .option(
      '--scope <name>',
      'what the session may be used for; repeat for more',
      several(parseScope),
    )
    .option('--ttl <duration>', `how long it works: at most ${LONGEST}; default 1h`, parseTtl)
    .option(
      '--issuer <name>',
      'issuer, as your servers have it; default COUNTERSIGN_ISSUER',
      parseIssuer,
    );
  addStoreOptions(issue)
    .action(
      storeAction<Options>(io, async ({ keys, masterKey, options, output }) => {
        const issuer = issuerOf(io, options);
        const { subject, audience, scope: scopes = [], ttl = 3_600 } = options;
        const maxTtl = parseDuration(LONGEST);
        const { issue } = createSessions({ issuer, masterKey, revocations: keys, maxTtl });
        const credentials = await issue({ subject, audience, scopes, ttl });
        await output.secret(credentials, credentialsText(credentials), 'session');
        output.note('Save the session credentials now: they are not shown again');
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign sessions issue --subject alice --audience video-api --issuer video-api',
        'countersign sessions issue --subject alice --audience video-api --issuer video-api --scope videos:parse --ttl 15m --json',
      ),
    );
}

function parseTtl(text: string): number {
  const ttl = parseDuration(text, LONGEST);
  if (ttl >= 1) return ttl;
  throw new UsageError(`Cannot use duration "${text}": expected at least 1s`);
}

function issuerOf({ env }: Io, { issuer }: Options): string {
  const name = issuer ?? env['COUNTERSIGN_ISSUER'];
  if (name !== undefined && name !== '') return parseIssuer(name);
  throw new UsageError(
    'Cannot issue a session without an issuer: give --issuer, or set COUNTERSIGN_ISSUER',
  );
}

function credentialsText(credentials: SessionCredentials): string {
  return formatFields({
    'Access key ID': credentials.accessKeyId,
    'Secret access key': credentials.secretAccessKey,
    'Session token': credentials.sessionToken,
    Expires: formatTime(credentials.expiresAt),
  });
}
