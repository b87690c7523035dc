import type { AccessKeyOwner } from '@countersign/server';
import type { PublicKeyAlgorithm } from '@countersign/shared';
import { type Command, Option } from 'commander';
import { parseDuration } from '../lib/duration.ts';
import { UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import {
  addStoreOptions,
  parseAudience,
  parseLabel,
  parseScope,
  parseSubject,
  several,
} from '../lib/options.ts';
import { formatTime, parseTime } from '../lib/time.ts';
import { storeAction } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { keyText, newKeyText } from './key-view.ts';
import { parsePublicKeyAlgorithm, readPublicKeyFile } from './public-key-file.ts';

interface Options {
  readonly subject: string;
  readonly scope?: string[];
  readonly audience?: string[];
  readonly label?: string;
  readonly notBefore?: number;
  readonly expiresIn?: number;
  readonly expiresAt?: number;
  readonly publicKey?: string;
  readonly algorithm?: PublicKeyAlgorithm;
}

export const SECRET_ONCE = 'Save the secret access key now: it is not shown again';
const PRIVATE_ONCE = 'Save the private key now: it is not stored, and not shown again';

export function addCreate(keys: Command, io: Io): void {
  const time = (text: string): number => parseTime(text, io.clock());
  const create = keys
    .command('create')
    .description('make an access key, and print its id and its secret once')
    .requiredOption('--subject <name>', 'owner of the key: a user or a service', parseSubject)
    .option('--scope <name>', 'what the key may be used for; repeat for more', several(parseScope))
    .option(
      '--audience <service>',
      'service that accepts the key; repeat for more; default all',
      several(parseAudience),
    )
    .option('--label <text>', 'name that the owner gives the key', parseLabel)
    .option('--not-before <time>', 'when it starts working, as 2026-11-24T22:30Z', time)
    .option('--expires-in <duration>', 'how long it works, as 90d or 12h', (text: string) =>
      parseDuration(text),
    )
    .addOption(
      new Option('--expires-at <time>', 'when it stops working')
        .argParser(time)
        .conflicts('expiresIn'),
    )
    .option(
      '--public-key <file>',
      'public key, in PEM or as a JWK, in place of a secret; the owner keeps the private key',
    )
    .option(
      '--algorithm <name>',
      'algorithm, such as ed25519; without --public-key a key pair is made and the private key printed',
      parsePublicKeyAlgorithm,
    );
  addStoreOptions(create)
    .action(
      storeAction<Options>(io, async ({ keys: store, options, output }) => {
        const owner = ownerOf(options, io.clock());
        const { publicKey: path, algorithm } = options;
        if (path !== undefined) {
          const publicKey = await readPublicKeyFile(path, algorithm);
          const key = await store.create({ ...owner, publicKey });
          await output.data(key, keyText(key, io.clock()));
          return;
        }
        if (algorithm !== undefined) {
          const { accessKey, credentials } = await store.create({ ...owner, algorithm });
          const { privateKey } = credentials;
          const text = `${keyText(accessKey, io.clock())}\n${privateKey}`;
          const document = { ...accessKey, privateKey };
          await output.secret(document, text, 'key');
          output.note(PRIVATE_ONCE);
          return;
        }
        const key = await store.create(owner);
        await output.secret(key, newKeyText(key), 'key');
        output.note(SECRET_ONCE);
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign keys create --subject alice --scope videos:parse',
        'countersign keys create --subject robot --audience video-api --expires-in 90d --json',
        'countersign keys create --subject alice --public-key alice.pem',
        'countersign keys create --subject robot --algorithm ed25519',
      ),
    );
}

function ownerOf(options: Options, now: number): AccessKeyOwner {
  const { subject, scope = [], audience, label, notBefore, expiresIn } = options;
  const expiresAt = expiresIn === undefined ? options.expiresAt : now + expiresIn;
  if (expiresAt !== undefined && !(expiresAt > Math.max(now, notBefore ?? 0)))
    throw new UsageError(
      `Cannot make a key that expires at ${formatTime(expiresAt)}: it would never work; give a later time`,
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
