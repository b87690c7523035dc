import type { Command } from 'commander';
import type { Io } from '../terminal/io.ts';
import { addIssue } from './issue.ts';
import { addRevoke } from './revoke.ts';

/** Commands that issue and revoke session credentials. */
export function addSessions(program: Command, io: Io): void {
  const sessions = program
    .command('sessions')
    .description('session credentials, which live for hours: issue, revoke')
    .helpCommand(false);
  addIssue(sessions, io);
  addRevoke(sessions, io);
}
