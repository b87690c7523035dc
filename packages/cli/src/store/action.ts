import type { Command } from 'commander';
import type { Io } from '../terminal/io.ts';
import { Output } from '../terminal/output.ts';
import { type OpenStore, type StoreOptions, withStore } from './store.ts';

/** What an action gets. */
export interface Call<Options> {
  readonly io: Io;
  readonly output: Output;
  readonly options: Options;
  readonly args: readonly (string | undefined)[];
}

type Action = (...parameters: unknown[]) => Promise<void>;

/** Makes an action for commander. */
export function action<Options>(io: Io, act: (call: Call<Options>) => Promise<void>): Action {
  return async (...parameters) => {
    const command = parameters.at(-1) as Command;
    const { json } = command.opts<{ json?: boolean }>();
    await act({
      io,
      output: new Output(io, json === true),
      options: command.opts() as Options,
      args: command.processedArgs as (string | undefined)[],
    });
  };
}

/** Makes an action that works with the store that the options name. */
export function storeAction<Options>(
  io: Io,
  act: (call: Call<Options> & OpenStore) => Promise<void>,
): Action {
  return action<Options & StoreOptions>(io, async (call) => {
    await withStore(io, call.options, call.output, (open) => act({ ...call, ...open }));
  });
}
