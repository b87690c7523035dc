import { lookup } from 'node:dns/promises';
import {
  CallbackAddressError,
  type CallbackAddressOptions,
  checkCallbackUrl,
  createCallbackSender,
  type DeliveryAttempt,
  type DeliveryReport,
} from '@countersign/server/callbacks';
import { quote } from '@countersign/shared';
import type { Command } from 'commander';
import { OperationError, UsageError } from '../lib/errors.ts';
import { examples } from '../lib/examples.ts';
import { addJsonOption } from '../lib/options.ts';
import { action } from '../store/action.ts';
import type { Io } from '../terminal/io.ts';
import { formatFields } from '../terminal/table.ts';
import { callbackSecrets } from './callback-secrets.ts';
import { formatSeconds } from './delivery-view.ts';

interface Options {
  readonly type?: string;
  readonly data?: unknown;
  readonly id?: string;
  readonly allowPlainHttp?: boolean;
  readonly allowPrivateAddresses?: boolean;
}

export function addSend(callbacks: Command, io: Io): void {
  const send = callbacks
    .command('send')
    .description(
      'send one test event, signed with COUNTERSIGN_CALLBACK_SECRET, and print the answer',
    )
    .argument('<url>', 'URL of the receiver')
    .option('--type <type>', 'type of the event, such as video.parsed; default test.event')
    .option('--data <json>', 'data of the event; default {}', parseJson)
    .option('--id <id>', 'id of the event, to send the same event again; default random')
    .option('--allow-plain-http', 'send without TLS: anyone on the network can read the event')
    .option('--allow-private-addresses', 'send to a private network or to this machine');
  addJsonOption(send)
    .action(
      action<Options>(io, async ({ args: [url], options, output }) => {
        const { eventId, attempt } = await sendOnce(url as string, options, io);
        const { status, seconds, response } = attempt;
        if (status === undefined || !(status >= 200 && status <= 299))
          throw new OperationError('ERR_CALLBACK_NOT_DELIVERED', failureOf(eventId, attempt));
        const fields = {
          Event: eventId,
          Status: String(status),
          Duration: formatSeconds(seconds),
          Answer: response || undefined,
        };
        await output.data({ eventId, status, seconds, response }, formatFields(fields));
      }),
    )
    .addHelpText(
      'after',
      examples(
        'countersign callbacks send https://alice.example/callbacks',
        'countersign callbacks send https://alice.example/callbacks --type video.parsed --data \'{"title":"Cats"}\'',
        'countersign callbacks send http://localhost:4000/ --allow-plain-http --allow-private-addresses',
      ),
    );
}

async function sendOnce(
  url: string,
  { type = 'test.event', data = {}, id, ...allowed }: Options,
  io: Io,
): Promise<{ eventId: string; attempt: DeliveryAttempt }> {
  const secrets = callbackSecrets(io, 'sign');
  const options = addressOptionsOf(allowed);
  await checkCallbackUrl(url, options).catch(async (error: CallbackAddressError) => {
    if (error.code === 'ERR_CALLBACK_HOST_UNRESOLVED') throw error;
    throw await explainRefusal(error, url, allowed);
  });
  let settle: (report: DeliveryReport) => void = () => undefined;
  const settled = new Promise<DeliveryReport>((resolve) => {
    settle = resolve;
  });
  const sender = createCallbackSender({
    ...options,
    endpoints: (endpointId) => ({ id: endpointId, url, secrets }),
    // One attempt only: the command reports a failure.
    schedule: [],
    clock: io.clock,
    onDelivered: settle,
    onDead: settle,
  });
  try {
    await sender.send('test', { id, type, data }).catch((error: Error) => {
      throw new UsageError(error.message, { cause: error });
    });
    const { eventId, attempt } = await settled;
    return { eventId, attempt: attempt as DeliveryAttempt };
  } finally {
    await sender.close();
  }
}

function addressOptionsOf({
  allowPlainHttp,
  allowPrivateAddresses,
}: Options): CallbackAddressOptions {
  return {
    ...(allowPlainHttp ? { http: 'allow-plain-http' as const } : {}),
    ...(allowPrivateAddresses
      ? { privateAddresses: 'allow-private-addresses' as const, resolve: resolveHere }
      : {}),
  };
}

/** Resolves names as this machine does: `localhost` is not in DNS. */
async function resolveHere(hostname: string): Promise<readonly string[]> {
  const found = await lookup(hostname, { all: true });
  return found.map(({ address }) => address);
}

const ALLOWANCES: readonly (readonly [Options, string])[] = [
  [{ allowPlainHttp: true }, '--allow-plain-http allows it'],
  [{ allowPrivateAddresses: true }, '--allow-private-addresses allows it'],
  [
    { allowPlainHttp: true, allowPrivateAddresses: true },
    '--allow-plain-http and --allow-private-addresses allow it',
  ],
];

/** Adds the options that would allow the URL: developers often call their own machine. */
async function explainRefusal(error: CallbackAddressError, url: string, allowed: Options) {
  let { message } = error;
  for (const [more, advice] of ALLOWANCES) {
    if (await isRefused(url, addressOptionsOf({ ...allowed, ...more }))) continue;
    message += `; ${advice}`;
    break;
  }
  if (error.code === 'ERR_CALLBACK_URL_REFUSED') return new UsageError(message, { cause: error });
  return new CallbackAddressError(error.code, message, { cause: error });
}

async function isRefused(url: string, options: CallbackAddressOptions): Promise<boolean> {
  const error = await checkCallbackUrl(url, options).catch((it: unknown) => it);
  return error instanceof CallbackAddressError && error.code !== 'ERR_CALLBACK_HOST_UNRESOLVED';
}

function failureOf(eventId: string, { status, seconds, error, response }: DeliveryAttempt): string {
  const what = `Cannot deliver ${quote(eventId)}`;
  const duration = formatSeconds(seconds);
  if (status === undefined) return `${what}: ${error} (after ${duration})`;
  const said = response ? `, ${quote(response, 200)}` : '';
  const answered = `${what}: it was answered ${status}${said} (after ${duration})`;
  return error === undefined ? answered : `${answered}. ${error}`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new UsageError(`Cannot parse data ${quote(text)}: expected JSON`);
  }
}
