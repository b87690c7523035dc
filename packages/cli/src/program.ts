import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addCallbacks } from './callbacks/callbacks.ts';
import { addCompletion } from './completion/completion.ts';
import { addKeys } from './keys/keys.ts';
import { addMasterKey } from './master-key/master-key.ts';
import { addSessions } from './sessions/sessions.ts';
import type { Io } from './terminal/io.ts';

/** Adds a group of commands to the program. */
type Group = (program: Command, io: Io) => void;

const groups: readonly Group[] = [addKeys, addSessions, addCallbacks, addMasterKey, addCompletion];

const ENVIRONMENT = `
Environment:
  COUNTERSIGN_STORE            where keys are kept: file:PATH, redis://…, as --store; put a URL with a password here
  COUNTERSIGN_REDIS_CA         a file with the authority of the certificate of Redis, in PEM
  COUNTERSIGN_REDIS_CERT       a file with a client certificate; COUNTERSIGN_REDIS_KEY is one with its key
  COUNTERSIGN_PREFIX           prefix of keys in Redis, the same as in your servers
  COUNTERSIGN_MASTER_KEY       master key, or several with commas between; COUNTERSIGN_MASTER_KEY_FILE names a file of them
  COUNTERSIGN_ISSUER           issuer of sessions, the same as in your servers
  COUNTERSIGN_CALLBACK_SECRET  secret that signs callbacks: whsec_…, or several with commas between
  DEBUG=1                      show the stack of an error
`;

const EXIT_CODES = `Exit codes: 0 done, 1 the operation failed, 2 wrong usage (nothing was done)`;

/**
 * Builds the tree of commands, for parsing, help and completion.
 *
 * @param print prints help
 */
export function buildProgram(io: Io, print: (text: string) => void): Command {
  const program = new Command('countersign')
    .description('Manage access keys, sessions and callbacks of an API with signed requests')
    .version(version(), '--version', 'show the version')
    .helpOption('-h, --help', 'show this help')
    .helpCommand('help [command...]', 'show the help of a command')
    .exitOverride()
    .configureOutput({
      writeOut: print,
      writeErr: (text) => void io.stderr.print(text),
      // main() prints each error, once.
      outputError: () => undefined,
    });
  for (const addGroup of groups) addGroup(program, io);
  return program.addHelpText('after', ENVIRONMENT).addHelpText('afterAll', EXIT_CODES);
}

function version(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}
