import type { Command } from 'commander';
import type { Io } from '../terminal/io.ts';
import { addIssue } from './issue.ts';
import { addRevoke } from './revoke.ts';

/** Session credentials: lent out, and ended. */
export function addSessions(program: Command, io: Io): void {
  const sessions = program
    .command('sessions')
    .description('session credentials, which live for hours: issue, revoke')
    .helpCommand(false);
  addIssue(sessions, io);
  addRevoke(sessions, io);
}
