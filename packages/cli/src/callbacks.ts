import type { Command } from 'commander';
import { addList, addShow } from './callbacks-list.ts';
import { addListen } from './callbacks-listen.ts';
import { addRedeliver } from './callbacks-redeliver.ts';
import { addSend } from './callbacks-send.ts';
import type { Io } from './io.ts';

/** Callbacks: what has become of them, and what developers need who send or receive them. */
export function addCallbacks(program: Command, io: Io): void {
  const callbacks = program
    .command('callbacks')
    .description('signed callbacks: list, redeliver, send one, listen')
    .helpCommand(false);
  callbacks.commandsGroup('Queue in Redis:');
  addList(callbacks, io);
  addShow(callbacks, io);
  addRedeliver(callbacks, io);
  callbacks.commandsGroup('Develop:');
  addSend(callbacks, io);
  addListen(callbacks, io);
}
