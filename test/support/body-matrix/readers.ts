import type { Readable } from 'node:stream';
import { Writable } from 'node:stream';
import express, { type Request as ExpressRequest, type RequestHandler } from 'express';
import express4 from 'express4';
import multer from 'multer';
import {
  binary,
  json,
  type Message,
  plainText,
  type Size,
  upload,
  urlencoded,
} from './messages.ts';

/** One way in which a handler reads a body. */
export interface Reader<Request> {
  readonly name: string;
  /** A body that the reader can read. */
  readonly message: (size: Size) => Message;
  /** What the handler saw. It fails if reading fails. */
  readonly read: (request: Request) => Promise<string> | string;
}

export interface ExpressReader extends Reader<ExpressRequest> {
  /** The body parser, mounted between the guard and the handler. */
  readonly parser?: RequestHandler;
  /** Whether it is tested with a body that is verified only at its end. */
  readonly streams: boolean;
}

/** Readers of a Node stream. They rely on `end` and `error` alone, as most handlers do. */
export const streamReaders: readonly Reader<Readable>[] = [
  {
    name: 'data events',
    message: plainText,
    read: (stream) =>
      new Promise((resolve, reject) => {
        const chunks: Buffer[] = [];
        stream.on('data', (chunk: Buffer) => void chunks.push(chunk));
        stream.once('end', () => resolve(Buffer.concat(chunks).toString()));
        stream.once('error', reject);
      }),
  },
  {
    name: 'async iterator',
    message: plainText,
    async read(stream) {
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      return Buffer.concat(chunks).toString();
    },
  },
  {
    name: 'pipe()',
    message: plainText,
    read: (stream) =>
      new Promise((resolve, reject) => {
        const chunks: Buffer[] = [];
        const writable = new Writable({
          write(chunk: Buffer, _encoding, done) {
            chunks.push(chunk);
            done();
          },
        });
        stream.pipe(writable).once('finish', () => resolve(Buffer.concat(chunks).toString()));
        stream.once('error', reject);
      }),
  },
];

/** The readers of one version of Express: its own parsers, multer, and the readers of streams. */
function expressReaders({
  json: parseJson,
  urlencoded: parseForm,
  text,
  raw,
}: typeof express): readonly ExpressReader[] {
  return [
    {
      name: 'express.json()',
      message: json,
      parser: parseJson(),
      read: ({ body }) => String(JSON.stringify(body)),
      streams: true,
    },
    {
      name: 'express.urlencoded()',
      message: urlencoded,
      parser: parseForm({ extended: false }),
      read: ({ body }) => (body === undefined ? 'undefined' : new URLSearchParams(body).toString()),
      streams: false,
    },
    {
      name: 'express.text()',
      message: plainText,
      parser: text(),
      read: ({ body }) => (typeof body === 'string' ? body : String(JSON.stringify(body))),
      streams: false,
    },
    {
      name: 'express.raw()',
      message: binary,
      parser: raw(),
      read: ({ body }) => (Buffer.isBuffer(body) ? body.toString() : String(JSON.stringify(body))),
      streams: false,
    },
    {
      name: 'multer',
      message: upload,
      parser: multer().single('file'),
      read: ({ file }) => String(file?.buffer),
      streams: false,
    },
    ...streamReaders.map((reader) => ({ ...reader, streams: true })),
  ];
}

export const fetchReaders: readonly Reader<Request>[] = [
  { name: 'text()', message: plainText, read: (request) => request.text() },
  { name: 'json()', message: json, read: async (request) => JSON.stringify(await request.json()) },
  {
    name: 'arrayBuffer()',
    message: plainText,
    read: async (request) => Buffer.from(await request.arrayBuffer()).toString(),
  },
  {
    name: 'body.getReader()',
    message: plainText,
    async read(request) {
      const reader = request.body?.getReader();
      const chunks: Uint8Array[] = [];
      for (;;) {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
        if (done) return Buffer.concat(chunks).toString();
        chunks.push(value as Uint8Array);
      }
    },
  },
];

export const express5Readers: readonly ExpressReader[] = expressReaders(express);
export const express4Readers: readonly ExpressReader[] = expressReaders(express4);
