import type { Command } from 'commander';
import type { Io } from '../terminal/io.ts';
import { addList, addShow } from './list.ts';
import { addListen } from './listen.ts';
import { addRedeliver } from './redeliver.ts';
import { addSend } from './send.ts';

/** Commands that show the queue of callbacks, and that help developers send and receive them. */
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
