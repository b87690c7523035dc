import type { Delivery, DeliveryState } from '@countersign/server/callbacks';
import { type Command, Option } from 'commander';
import { examples } from '../lib/examples.ts';
import { addQueueOptions, parseDeliveryId, parseWhole } from '../lib/options.ts';
import type { Io } from '../terminal/io.ts';
import { deliveryTable, deliveryText } from './delivery-view.ts';
import { findDelivery, queueAction } from './queue.ts';

const STATES: readonly DeliveryState[] = ['waiting', 'dead', 'delivered'];

export function addList(callbacks: Command, io: Io): void {
  const list = callbacks
    .command('list')
    .description('list deliveries, newest first: waiting, dead (not tried again) and delivered')
    .addOption(new Option('--state <state>', 'only deliveries in this state').choices(STATES))
    .option('--limit <number>', 'how many at most; default 100', parseWhole('limit', 1, 10_000));
  addQueueOptions(list)
    .action(
      queueAction<{ state?: DeliveryState; limit?: number }>(
        io,
        async ({ deliveries, options: { state, limit = 100 }, output, url }) => {
          const states = state === undefined ? STATES : [state];
          const found: Delivery[] = [];
          for (const each of states) found.push(...(await deliveries.list(each, limit)));
          const latest = found.sort((a, b) => b.createdAt - a.createdAt).slice(0, limit);
          await output.data(latest, latest.length === 0 ? '' : deliveryTable(latest));
          if (latest.length === 0) output.note(`There are no such deliveries in ${url}`);
        },
      ),
    )
    .addHelpText(
      'after',
      examples(
        'countersign callbacks list --store redis://127.0.0.1:6379',
        'countersign callbacks list --state dead --limit 10 --json',
      ),
    );
}

export function addShow(callbacks: Command, io: Io): void {
  const show = callbacks
    .command('show')
    .description('show a delivery and each of its attempts')
    .argument('<id>', 'the id of the delivery', parseDeliveryId);
  addQueueOptions(show)
    .action(
      queueAction(io, async ({ args: [id], output, ...open }) => {
        const delivery = await findDelivery(open, id as string);
        await output.data(delivery, deliveryText(delivery));
      }),
    )
    .addHelpText(
      'after',
      examples('countersign callbacks show dlv_2kq8vT7xLw4Rk8Nf3Bd6HnZs1yPq5cUe'),
    );
}
