import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import ipaddr from 'ipaddr.js';
import { onTestFinished } from 'vitest';

export interface DnsQuestion {
  readonly name: string;
  readonly type: 'A' | 'AAAA';
  /** How often this type was asked for, including this time. */
  readonly count: number;
}

const TYPES = { 1: 'A', 28: 'AAAA' } as const;
const SERVFAIL = 2;

/** A name server on loopback, which gives the answers of the test. */
export async function startDns(
  answer: (question: DnsQuestion) => readonly string[] | 'SERVFAIL',
): Promise<{ server: string; asked: () => Record<string, number> }> {
  const asked: Record<string, number> = {};
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at] as number; length > 0; length = query[at] as number) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length));
      at += 1 + length;
    }
    const code = query.readUInt16BE(at + 1);
    const type = TYPES[code as 1 | 28];
    asked[type] = (asked[type] ?? 0) + 1;
    const found = answer({ name: labels.join('.'), type, count: asked[type] as number });
    const addresses = found === 'SERVFAIL' ? [] : found;
    const header = Buffer.alloc(12);
    query.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8180 | (found === 'SERVFAIL' ? SERVFAIL : 0), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(addresses.length, 6);
    const records = addresses.map((text) => {
      const bytes = Buffer.from(ipaddr.parse(text).toByteArray());
      const record = Buffer.alloc(12);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(code, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt16BE(bytes.length, 10);
      return Buffer.concat([record, bytes]);
    });
    socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...records]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  onTestFinished(() => void socket.close());
  return { server: `127.0.0.1:${socket.address().port}`, asked: () => asked };
}
