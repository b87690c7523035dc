import type { Command } from 'commander';
import type { Io } from './io.ts';
import { addIssue } from './sessions-issue.ts';
import { addRevoke } from './sessions-revoke.ts';

/** Session credentials: lent out, and ended. */
export function addSessions(program: Command, io: Io): void {
  const sessions = program
    .command('sessions')
    .description('session credentials, which live for hours: issue, revoke')
    .helpCommand(false);
  addIssue(sessions, io);
  addRevoke(sessions, io);
}
