import type { Command } from 'commander';
import type { Io } from './io.ts';
import { addAcceptRestore } from './keys-accept-restore.ts';
import { addCreate } from './keys-create.ts';
import { addInit } from './keys-init.ts';
import { addList, addShow } from './keys-list.ts';
import { addRevoke } from './keys-revoke.ts';
import { addRewrap } from './keys-rewrap.ts';
import { addRotate } from './keys-rotate.ts';
import { addDisable, addEnable } from './keys-status.ts';

/** Access keys: made, looked at, changed, revoked. */
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
