import * as http from 'node:http';
import * as https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { quote } from '@countersign/shared';
import type { CallbackAddress } from './callback-address.ts';
import { hostOf } from './callback-url.ts';
import { keepBriefly, recordIdleTime } from './idle-connections.ts';

/** Seconds. Each timeout starts when the one before it ends. */
interface PostTimeouts {
  /** To connect, including TLS. */
  readonly connect: number;
  /** To send the body and receive the head of the answer. */
  readonly headers: number;
  /** To read the rest of the answer. */
  readonly body: number;
}

/** What one attempt sends. */
interface PostRequest extends CallbackAddress {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly timeouts: PostTimeouts;
  /** The most bytes of the answer that are read. If it is longer, the connection is closed. */
  readonly maxResponse: number;
}

export interface PostAnswer {
  readonly status: number;
  readonly location: string | undefined;
  readonly retryAfter: string | undefined;
  /** The part that was read. */
  readonly body: Uint8Array;
}

/** Posts to addresses that were checked. */
export interface Poster {
  /** @throws Error if there was no answer */
  post(request: PostRequest): Promise<PostAnswer>;
  close(): void;
}

type PinnedOptions = https.RequestOptions & { readonly pinned?: string };

const KEPT = { keepAlive: true, maxFreeSockets: 256 };

/**
 * Connects only to the addresses that were checked. It uses `node:https` rather than fetch: that
 * takes a `lookup`, follows no redirect (which could lead into our network), sends no cookie,
 * decompresses nothing, and uses no proxy by default. It posts once: if the receiver may have seen
 * a request, the poster does not send it again.
 */
export function createPoster(): Poster {
  const agents = {
    'http:': pinning(keepBriefly(new http.Agent(KEPT))),
    'https:': pinning(keepBriefly(new https.Agent(KEPT))),
  };
  return {
    async post(request) {
      const agent = agents[request.url.protocol as 'http:' | 'https:'];
      const first = await attempt(request, agent);
      // The receiver closed the connection while it was idle, so no byte was sent.
      const answer = first instanceof StaleConnection ? await attempt(request, false) : first;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    close() {
      for (const agent of Object.values(agents)) agent.destroy();
    },
  };
}

/**
 * A kept connection is used again only for the same name *and* the same addresses. Otherwise the
 * sender would still use a connection from before the name was rebound, or from settings that
 * allowed more.
 */
function pinning<A extends http.Agent>(agent: A): A {
  const named = agent.getName.bind(agent);
  agent.getName = (options?: PinnedOptions) => `${named(options)}:${options?.pinned ?? ''}`;
  return agent;
}

class StaleConnection extends Error {}

function attempt(
  { url, addresses, headers, body, timeouts, maxResponse }: PostRequest,
  agent: http.Agent | false,
): Promise<PostAnswer | Error> {
  const isTls = url.protocol === 'https:';
  const host = hostOf(url.hostname);
  const options: PinnedOptions = {
    agent,
    method: 'POST',
    host,
    port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
    path: `${url.pathname}${url.search}`,
    headers: { ...headers, host: url.host, 'content-length': body.length },
    lookup: lookupOf(addresses),
    pinned: addresses.join(),
    autoSelectFamilyAttemptTimeout: 1_000,
    // An IP address is not allowed as a server name (RFC 6066 section 3).
    ...(isTls ? { servername: isIP(host) === 0 ? host : '', rejectUnauthorized: true } : {}),
  } as PinnedOptions;
  return new Promise((resolve) => {
    const request = (isTls ? https : http).request(options);
    let timer: NodeJS.Timeout;
    let isSent = false;
    let isAnswered = false;
    let isSettled = false;
    const within = (seconds: number, what: string) => {
      clearTimeout(timer);
      const late = () => request.destroy(new Error(`Cannot ${what} within ${seconds} s`));
      timer = setTimeout(late, seconds * 1000);
    };
    const finish = (outcome: PostAnswer | Error) => {
      clearTimeout(timer);
      isSettled = true;
      resolve(outcome);
    };
    within(timeouts.connect, `connect to ${quote(url.host)}`);
    request.on('socket', (socket) => {
      const send = () => {
        isSent = true;
        request.end(body);
      };
      if (!request.reusedSocket) {
        const connected = () => within(timeouts.headers, 'get an answer');
        socket.once(isTls ? 'secureConnect' : 'connect', connected);
        send();
        return;
      }
      within(timeouts.headers, 'get an answer');
      // The receiver may have closed it. Node reads that before this callback runs: then nothing is
      // sent.
      setImmediate(() => {
        if (isSettled) return;
        if (socket.writable && !socket.readableEnded) send();
        else request.destroy(new Error('The connection was closed'));
      });
    });
    request.on('response', (response) => {
      within(timeouts.body, 'read the answer');
      isAnswered = true;
      recordIdleTime(response);
      // The head decides the outcome. An error in the rest must not cause a second delivery.
      void readUpTo(response, maxResponse).then((read) => {
        if (!response.complete) request.destroy();
        const { location, 'retry-after': retryAfter } = response.headers;
        finish({ status: response.statusCode as number, location, retryAfter, body: read });
      });
    });
    request.on('upgrade', (_, socket) => {
      socket.destroy();
      finish(new Error('Cannot take an answer that changes the protocol'));
    });
    request.on('error', (error) => {
      if (isAnswered) return;
      finish(isSent || !request.reusedSocket ? error : new StaleConnection(error.message));
    });
  });
}

async function readUpTo(response: http.IncomingMessage, most: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      length += chunk.length;
      // Otherwise a receiver could make us read an endless answer.
      if (!(length <= most)) break;
    }
  } catch {
    // The connection broke. Keep the part that was read.
  }
  return Buffer.concat(chunks).subarray(0, most);
}

/** A lookup that always returns the checked addresses, so a name is never resolved again. */
function lookupOf(addresses: readonly string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_hostname, { all }, callback) => {
    const [first] = found;
    if (all) callback(null, found);
    else callback(null, first?.address as string, first?.family);
  };
}
