import { describe, expect, it } from 'vitest';
import {
  type BodyMode,
  type Guard,
  type Service,
  services,
} from '../support/body-matrix/adapters.ts';
import type { Client } from '../support/body-matrix/clients.ts';
import {
  type Combination,
  mustBeAnswered,
  type ServerKind,
} from '../support/body-matrix/combination.ts';
import { finClients, http1Clients } from '../support/body-matrix/http1-clients.ts';
import { http2Clients } from '../support/body-matrix/http2-clients.ts';
import { listFaults, runMatrix } from '../support/body-matrix/matrix.ts';
import type { Size } from '../support/body-matrix/messages.ts';
import type { Delay } from '../support/body-matrix/parties.ts';
import { sample } from './support.ts';

/** A slow store, and the size of the body. */
type Column = Delay & { readonly size: Size };

const column = (
  store: Delay['store'],
  milliseconds: Delay['milliseconds'],
  size: Size = 'small',
): Column => ({ store, milliseconds, size });

type Columns = (stores: Service['stores']) => Column[];

const someColumns: Columns = ([first, second]) => [
  column(first, 0),
  column(first, 5),
  column(first, 60),
  column(first, 'after the client'),
  column(second, 'after the client'),
  column(first, 'after the client', 'large'),
];

const allColumns: Columns = ([first, second]) => [
  ...someColumns([first, second]),
  column(first, 400),
  column(second, 5),
  column(first, 0, 'large'),
];

/**
 * A client of HTTP/2 can send the rest of a large body only when the handler reads. A streamed body
 * is read after the store has answered, so a store that answers after the client would wait
 * forever.
 */
const http2StreamColumns: Columns = (stores) =>
  someColumns(stores).map((it) => (it.size === 'large' ? { ...it, milliseconds: 5 } : it));

const oneColumn: Columns = ([store]) => [column(store, 'after the client')];

function combine(
  group: readonly Service[],
  clients: readonly Client[],
  body: BodyMode,
  server: ServerKind,
  guard: Guard = 'ours',
  columns: Columns = someColumns,
): Combination[] {
  return group.flatMap((service) =>
    columns(service.stores).flatMap(({ size, ...delay }) =>
      clients.map((client) => ({ service, client, guard, body, delay, server, size })),
    ),
  );
}

const streaming = (group: readonly Service[]): Service[] => group.filter(({ streams }) => streams);

/**
 * A matrix, with its number of combinations and of honest combinations. Without these numbers, a
 * lost dimension would go unnoticed.
 */
type Row = [name: string, combinations: Combination[], count: number, honest: number];

const { express5, express4, callback5, node, nodeCallback, http2, fetch } = services;

const stock: Row[] = [
  ['Express 5', combine(express5, http1Clients, 'buffer', 'stock', 'ours', allColumns), 1008, 432],
  ['Express 4', combine(express4, http1Clients, 'buffer', 'stock'), 672, 288],
  ['requireCallback()', combine(callback5, http1Clients, 'buffer', 'stock'), 672, 288],
  ['node:http', combine(node, http1Clients, 'buffer', 'stock', 'ours', allColumns), 378, 162],
  ['withCallback()', combine(nodeCallback, http1Clients, 'buffer', 'stock'), 252, 108],
  ['fetch', combine(fetch, http1Clients, 'buffer', 'stock', 'ours', allColumns), 504, 216],
  ['node:http2', combine(http2, http2Clients, 'buffer', 'stock', 'ours', allColumns), 216, 54],
];

const halfOpen: Row[] = [
  ['Express 5', combine(express5, finClients, 'buffer', 'half-open'), 192, 144],
  ['Express 4', combine(express4, finClients, 'buffer', 'half-open'), 192, 144],
  ['requireCallback()', combine(callback5, finClients, 'buffer', 'half-open'), 192, 144],
  ['node:http', combine(node, finClients, 'buffer', 'half-open'), 72, 54],
  ['withCallback()', combine(nodeCallback, finClients, 'buffer', 'half-open'), 72, 54],
  ['fetch', combine(fetch, finClients, 'buffer', 'half-open'), 96, 72],
];

const streamed: Row[] = [
  ['Express 5', combine(streaming(express5), http1Clients, 'stream', 'stock'), 336, 72],
  ['node:http', combine(node, http1Clients, 'stream', 'stock'), 252, 54],
  ['fetch', combine(fetch, http1Clients, 'stream', 'stock'), 336, 72],
  [
    'node:http2',
    combine(http2, http2Clients, 'stream', 'stock', 'ours', http2StreamColumns),
    144,
    36,
  ],
];

const streamedHalfOpen: Row[] = [
  ['Express 5', combine(streaming(express5), finClients, 'stream', 'half-open'), 96, 72],
  ['node:http', combine(node, finClients, 'stream', 'half-open'), 72, 54],
  ['fetch', combine(fetch, finClients, 'stream', 'half-open'), 96, 72],
];

async function check(combinations: Combination[], count: number, honest: number): Promise<void> {
  expect(combinations).toHaveLength(count);
  expect(combinations.filter(mustBeAnswered)).toHaveLength(honest);
  const outcomes = await runMatrix(sample(combinations));
  expect(outcomes).toHaveLength(sample(combinations).length);
  expect(listFaults(outcomes)).toEqual([]);
  const answered = outcomes.filter(({ combination }) => mustBeAnswered(combination));
  expect(answered.length).toBeGreaterThan(0);
  expect(answered.filter(({ runs, whole }) => !(runs === 1 && whole === 1))).toEqual([]);
}

describe('a handler runs with the whole body that was signed, or it does not run', {
  timeout: 120_000,
}, () => {
  it.each(stock)('%s', (_name, ...matrix) => check(...matrix));

  it.each(halfOpen)('%s, on a server with httpAllowHalfOpen', (_name, ...matrix) =>
    check(...matrix),
  );

  it.each(streamed)("%s, body: 'stream'", (_name, ...matrix) => check(...matrix));

  it.each(streamedHalfOpen)(
    "%s, body: 'stream', on a server with httpAllowHalfOpen",
    (_name, ...matrix) => check(...matrix),
  );
});

describe('controls of the matrix', () => {
  it.each(['stock', 'half-open'] as const)(
    'a %s server without a guard answers clients that send a FIN',
    async (server) => {
      const clients = finClients.filter(({ cutsShort }) => !cutsShort);
      const group = [...express5, ...express4, ...node, ...fetch];
      const outcomes = await runMatrix(
        combine(group, clients, 'buffer', server, 'none', oneColumn),
      );
      expect(outcomes).toHaveLength(69);
      expect(listFaults(outcomes)).toEqual([]);
    },
  );

  it('finds handlers that run without the body, behind a guard that does not look again', async () => {
    const clients = http1Clients.filter(({ name }) =>
      /^(?:RST|one byte) behind the body$/.test(name),
    );
    const outcomes = await runMatrix(
      combine(express5, clients, 'buffer', 'stock', 'naive', oneColumn),
    );
    expect(outcomes).toHaveLength(16);
    const faults = listFaults(outcomes);
    for (const reader of [
      'express.json()',
      'express.urlencoded()',
      'express.text()',
      'express.raw()',
    ]) {
      for (const client of ['RST', 'one byte'])
        expect(faults).toContain(
          `Express 5 · ${reader} · ${client} behind the body: the handler ran with "undefined" in place of the body (nonces after the client small)`,
        );
    }
    for (const reader of ['data events', 'pipe()'])
      expect(faults).toContain(
        `Express 5 · ${reader} · RST behind the body: the handler waits for an end that never comes (nonces after the client small)`,
      );
  });
});
