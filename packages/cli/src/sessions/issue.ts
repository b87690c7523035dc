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

/** No session lives longer. */
const LONGEST = '7d';

export function addIssue(sessions: Command, io: Io): void {
  const issue = sessions
    .command('issue')
    .description('issue session credentials, and print them once')
    .requiredOption('--subject <name>', 'whose session it is', parseSubject)
    .requiredOption('--audience <service>', 'the one service that it is for', parseAudience)
    .option('--scope <name>', 'what it may be used for; may be given again', several(parseScope))
    .option('--ttl <duration>', `how long it lives: at most ${LONGEST}; otherwise 1h`, parseTtl)
    .option('--issuer <name>', 'who issues it; otherwise COUNTERSIGN_ISSUER', parseIssuer);
  addStoreOptions(issue)
    .action(
      storeAction<Options>(io, async ({ keys, masterKey, options, output }) => {
        const issuer = issuerOf(io, options);
        const { subject, audience, scope: scopes = [], ttl = 3_600 } = options;
        const maxTtl = parseDuration(LONGEST);
        const { issue } = createSessions({ issuer, masterKey, revocations: keys, maxTtl });
        const credentials = await issue({ subject, audience, scopes, ttl });
        await output.secret(credentials, credentialsText(credentials), 'session');
        output.note('Keep the session credentials now: they are not shown again');
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
