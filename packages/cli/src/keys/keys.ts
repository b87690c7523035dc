import type { Command } from 'commander';
import type { Io } from '../terminal/io.ts';
import { addAcceptRestore } from './accept-restore.ts';
import { addCreate } from './create.ts';
import { addInit } from './init.ts';
import { addList, addShow } from './list.ts';
import { addRevoke } from './revoke.ts';
import { addRewrap } from './rewrap.ts';
import { addRotate } from './rotate.ts';
import { addDisable, addEnable } from './status.ts';

/** Commands that make, show, change and revoke access keys. */
export function addKeys(program: Command, io: Io): void {
  const keys = program
    .command('keys')
    .description('access keys: make, list, rotate, disable, revoke')
    .helpCommand(false);
  keys.commandsGroup('Make and look:');
  addCreate(keys, io);
  addList(keys, io);
  addShow(keys, io);
  keys.commandsGroup('Change:');
  addRotate(keys, io);
  addDisable(keys, io);
  addEnable(keys, io);
  addRevoke(keys, io);
  keys.commandsGroup('Maintain:');
  addInit(keys, io);
  addRewrap(keys, io);
  addAcceptRestore(keys, io);
}
