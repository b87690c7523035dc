import { setTimeout as sleep } from 'node:timers/promises';
import { createFetch, createSigner } from '@countersign/client';
import { signing } from '@countersign/client/undici';
import {
  createVerifier,
  generateAccessKey,
  MemoryKeyStore,
  MemoryNonceStore,
  type Verifier,
} from '@countersign/server';
import {
  type CallbackVerifier,
  createCallbackVerifier,
  standardWebhooks,
} from '@countersign/server/callbacks';
import {
  type Agent,
  type Dispatcher,
  fetch as undiciFetch,
  request as undiciRequest,
} from 'undici';
import { AUDIENCE, NOW } from '../api.ts';
import type { Message } from './messages.ts';

/** Which store is slow, and how slow it is. The others answer at once. */
export interface Delay {
  readonly store: 'keys' | 'nonces' | 'secrets';
  /**
   * `after the client`: the store answers when the client has done everything except wait. This
   * needs no clock.
   */
  readonly milliseconds: number | 'after the client';
}

/** Delays the answers of a store, and knows whether an answer is still due. */
export class SlowStore {
  readonly #milliseconds: Delay['milliseconds'];
  readonly #clientActed: Promise<void>;
  readonly asked: Promise<void>;
  wasAsked = false;
  #pending = 0;
  #onAsked: () => void = () => undefined;
  #onIdle: () => void = () => undefined;

  constructor(milliseconds: Delay['milliseconds'], clientActed: Promise<void>) {
    this.#milliseconds = milliseconds;
    this.#clientActed = clientActed;
    this.asked = new Promise((resolve) => {
      this.#onAsked = resolve;
    });
  }

  async answer<T>(act: () => T | Promise<T>): Promise<T> {
    this.wasAsked = true;
    this.#pending++;
    this.#onAsked();
    try {
      if (this.#milliseconds === 'after the client') await this.#clientActed;
      else if (this.#milliseconds > 0) await sleep(this.#milliseconds);
      return await act();
    } finally {
      if (--this.#pending === 0) this.#onIdle();
    }
  }

  get isPending(): boolean {
    return this.#pending > 0;
  }

  async idle(): Promise<void> {
    if (this.isPending)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
  }
}

/** The two sides of one request: the verifier and the signer. */
export interface Party {
  /** Signs a message, and gives the headers with which it is sent. */
  headersFor(url: string, message: Message): Promise<Record<string, string>>;
  /** Sends a message with a client that signs by itself. */
  readonly senders: Readonly<Record<SenderName, Sender>>;
}

export type SenderName = 'fetch' | 'request';
type Sender = (
  url: string,
  message: Message,
  agent: Agent,
  signal: AbortSignal,
) => Promise<{ status: number; body: string }>;

export interface SignatureParty extends Party {
  readonly verifier: Verifier;
}

export interface CallbackParty extends Party {
  readonly verifier: CallbackVerifier;
}

const clock = () => NOW;

export function signatureParty({ store }: Delay, slow: SlowStore): SignatureParty {
  const key = generateAccessKey({ subject: 'alice' });
  const keys = new MemoryKeyStore([key]);
  const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
  const verifier = createVerifier({
    audience: AUDIENCE,
    clock,
    keys: store === 'keys' ? { find: (id) => slow.answer(() => keys.find(id)) } : keys,
    nonces:
      store === 'nonces' ? { claim: (claim) => slow.answer(() => nonces.claim(claim)) } : nonces,
  });
  const options = { credentials: key, audience: AUDIENCE, clock };
  const signer = createSigner(options);
  return {
    verifier,
    async headersFor(url, { contentType, bytes }) {
      const headers = { 'content-type': contentType };
      return (await signer.sign({ method: 'POST', url, headers, body: bytes })).headers;
    },
    senders: {
      async fetch(url, message, agent, signal) {
        const over: typeof fetch = (input, init) => fetchOver(agent, String(input), init);
        const response = await createFetch({ ...options, fetch: over })(
          url,
          initOf(message, signal),
        );
        return { status: response.status, body: await response.text() };
      },
      request: (url, message, agent, signal) =>
        requestOver(
          agent.compose(signing({ ...options, origins: [new URL(url).origin] })),
          url,
          initOf(message, signal),
        ),
    },
  };
}

const SECRET = 'whsec_5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH';

export function callbackParty({ store }: Delay, slow: SlowStore): CallbackParty {
  const scheme = standardWebhooks();
  const nonces = new MemoryNonceStore({ clock, bornAt: 0 });
  const verifier = createCallbackVerifier({
    secrets: store === 'secrets' ? () => slow.answer(() => [SECRET]) : [SECRET],
    clock,
    scheme,
    nonces:
      store === 'nonces' ? { claim: (claim) => slow.answer(() => nonces.claim(claim)) } : nonces,
  });
  async function headersFor(_url: string, { contentType, bytes }: Message) {
    const params = { id: 'msg_1', signedAt: NOW };
    const signature = scheme.parseKey(SECRET).sign?.(scheme.content(params, bytes)) ?? '';
    return { 'content-type': contentType, ...scheme.write?.(params, [signature]) };
  }
  return {
    verifier,
    headersFor,
    senders: {
      async fetch(url, message, agent, signal) {
        const headers = await headersFor(url, message);
        const response = await fetchOver(agent, url, { ...initOf(message, signal), headers });
        return { status: response.status, body: await response.text() };
      },
      async request(url, message, agent, signal) {
        const headers = await headersFor(url, message);
        return requestOver(agent, url, { ...initOf(message, signal), headers });
      },
    },
  };
}

function initOf({ contentType, bytes }: Message, signal: AbortSignal) {
  const headers: Record<string, string> = { 'content-type': contentType };
  return { method: 'POST' as const, headers, body: new Uint8Array(bytes), signal };
}

function fetchOver(
  dispatcher: Agent,
  url: string,
  init: RequestInit | undefined,
): Promise<Response> {
  type Init = Parameters<typeof undiciFetch>[1];
  return undiciFetch(url, { ...(init as Init), dispatcher }) as unknown as Promise<Response>;
}

async function requestOver(dispatcher: Dispatcher, url: string, init: ReturnType<typeof initOf>) {
  const { statusCode, body } = await undiciRequest(url, { ...init, dispatcher });
  return { status: statusCode, body: await body.text() };
}
