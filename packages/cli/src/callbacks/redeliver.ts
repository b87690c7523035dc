import type { Command } from 'commander';
import { examples } from '../lib/examples.ts';
import { addQueueOptions, parseDeliveryId } from '../lib/options.ts';
import type { Io } from '../terminal/io.ts';
import { findDelivery, queueAction } from './queue.ts';

export function addRedeliver(callbacks: Command, io: Io): void {
  const redeliver = callbacks
    .command('redeliver')
    .description('make a delivery due now, in any state: same id, new signature')
    .argument('<id>', 'the id of the delivery', parseDeliveryId);
  addQueueOptions(redeliver)
    .action(
      queueAction(io, async ({ args, output, ...open }) => {
        const id = args[0] as string;
        const { eventId, endpointId } = await findDelivery(open, id);
        await open.deliveries.redeliver(id);
        await output.data({ redelivered: id }, '');
        output.note(`Event ${eventId} is now due at endpoint ${endpointId}`);
      }),
    )
    .addHelpText(
      'after',
      examples('countersign callbacks redeliver dlv_2kq8vT7xLw4Rk8Nf3Bd6HnZs1yPq5cUe'),
    );
}
