import { once } from 'node:events';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BodyMode, Guard, Service } from './adapters.ts';
import { type Answer, type Client, turns } from './clients.ts';
import { type HandlerRun, HandlerRuns } from './handler-runs.ts';
import type { Message, Size } from './messages.ts';
import { type Delay, SlowStore } from './parties.ts';

/** `half-open` sets `httpAllowHalfOpen`: a client may close its side and wait for the answer. */
export type ServerKind = 'stock' | 'half-open';

/** One point of the matrix. */
export interface Combination {
  readonly service: Service;
  readonly client: Client;
  readonly guard: Guard;
  readonly body: BodyMode;
  readonly delay: Delay;
  readonly server: ServerKind;
  readonly size: Size;
}

/** The result of one combination. */
export interface Outcome {
  readonly combination: Combination;
  /** How often the handler was called. */
  readonly runs: number;
  /** How often it saw the whole body. */
  readonly whole: number;
  /** What breaks the property, in words. */
  readonly faults: readonly string[];
}

/**
 * A hang: the event loop has had nothing to do for two seconds. The requirement is one second
 * beyond the delay of the store, which is 0.4 s at most. Ticks in which the loop was busy do not
 * count, so a slow machine is no hang.
 */
const IDLE_TICKS = 8;
const TICK_MILLISECONDS = 250;
const IDLE_UTILIZATION = 0.5;

/** Whether a promise settles before it counts as a hang. */
async function settles(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const noted = promise.then(() => {
    settled = true;
  });
  for (let idle = 0; idle < IDLE_TICKS && !settled; ) {
    const before = performance.eventLoopUtilization();
    const timer = new AbortController();
    const tick = sleep(TICK_MILLISECONDS, undefined, { signal: timer.signal });
    await Promise.race([noted, tick.catch(() => undefined)]);
    timer.abort();
    if (performance.eventLoopUtilization(before).utilization < IDLE_UTILIZATION) idle++;
  }
  return settled;
}

function nameOf({ service, client, guard, body, delay, server, size }: Combination): string {
  return [
    service.adapter,
    service.reader,
    client.name,
    delayName(delay),
    size,
    body,
    server,
    guard,
  ].join(' · ');
}

export function delayName({ store, milliseconds }: Delay): string {
  return `${store} ${milliseconds}${typeof milliseconds === 'number' ? ' ms' : ''}`;
}

/** Sends one request to a server of its own, and waits until everything about it is over. */
export async function runCombination(combination: Combination): Promise<Outcome> {
  const { service, client, delay, size, server: kind } = combination;
  let onActed = (): void => undefined;
  const clientActed = new Promise<void>((resolve) => {
    onActed = resolve;
  });
  const slow = new SlowStore(delay.milliseconds, clientActed);
  const runs = new HandlerRuns(nameOf(combination));
  const { server, party } = service.open(combination, slow, runs);
  if (kind === 'half-open') Object.assign(server, { httpAllowHalfOpen: true });
  const connections = new Connections(server);
  const port = await listen(server);
  const message = service.message(size);

  const contact = await client.contact({ port, message, party, asked: slow.asked });
  // A few turns later the server has noticed, if it reads from the connection.
  void contact.acted.then(() => turns(20)).then(onActed);
  let answer: Answer | undefined;
  const isAnswered = await settles(
    contact.answered.then((given) => {
      answer = given;
    }),
  );
  contact.leave();
  const isOver = await settles(everythingOver(slow, runs, connections));
  runs.close();
  server.close();

  const faults = faultsOf(combination, message, answer, runs.all);
  if (!isAnswered)
    faults.push('the client waits: it gets no answer, and the connection stays open');
  if (!isOver && connections.areOpen)
    faults.push('the connection stays open, though the client has left');
  if (combination.guard === 'ours' && runs.all.length > 0 && !slow.wasAsked)
    faults.push('the handler ran unverified');
  connections.destroy();
  const whole = runs.all.filter(
    ({ state, seen }) => state === 'read' && seen === message.seen,
  ).length;
  return { combination, whole, runs: runs.all.length, faults };
}

/** Whether a combination must be answered with 200. */
export function mustBeAnswered({ client, body, server }: Combination): boolean {
  return (
    client.mustBeAnswered === 'always' ||
    (client.mustBeAnswered === 'if Node lets us' && (body === 'buffer' || server === 'half-open'))
  );
}

function faultsOf(
  combination: Combination,
  message: Message,
  answer: Answer | undefined,
  runs: readonly HandlerRun[],
): string[] {
  const faults: string[] = [];
  if (runs.length > 1) faults.push(`the handler ran ${runs.length} times`);
  for (const { state, seen } of runs) {
    if (state === 'waiting') faults.push('the handler waits for an end that never comes');
    if (state === 'read' && seen !== message.seen)
      faults.push(`the handler ran with ${abbreviate(seen)} in place of the body`);
    // A buffered body is complete when its handler is called. A streamed body is not.
    if (state === 'failed' && combination.body === 'buffer')
      faults.push('the handler was called, and could not read the body');
  }
  if (mustBeAnswered(combination) && answer?.status !== 200)
    faults.push(
      `an honest request got ${answer === undefined ? 'no answer' : `the answer ${answer.status}`}`,
    );
  if (answer?.status === 200 && answer.body !== message.seen)
    faults.push(`the answer has ${abbreviate(answer.body)} in place of the body`);
  return faults;
}

function abbreviate(text: string): string {
  return text.length <= 20
    ? JSON.stringify(text)
    : `${JSON.stringify(text.slice(0, 20))}… (${text.length} characters)`;
}

/**
 * Waits until the handler, the store and the connection are done, and no further handler has run.
 */
async function everythingOver(
  slow: SlowStore,
  runs: HandlerRuns,
  connections: Connections,
): Promise<void> {
  await connections.accepted;
  for (;;) {
    const before = runs.all.length;
    await connections.closed();
    await slow.idle();
    await runs.over();
    await turns(10);
    if (runs.all.length === before && !connections.areOpen && !slow.isPending) return;
  }
}

/** The connections of a server. */
class Connections {
  /** Resolves when the client has connected. */
  readonly accepted: Promise<unknown>;
  readonly #open = new Set<Socket>();
  #onClosed: () => void = () => undefined;

  constructor(server: Server) {
    this.accepted = once(server, 'connection');
    server.on('connection', (socket: Socket) => {
      this.#open.add(socket);
      socket.once('close', () => {
        this.#open.delete(socket);
        if (!this.areOpen) this.#onClosed();
      });
    });
  }

  get areOpen(): boolean {
    return this.#open.size > 0;
  }

  async closed(): Promise<void> {
    if (this.areOpen)
      await new Promise<void>((resolve) => {
        this.#onClosed = resolve;
      });
  }

  destroy(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
