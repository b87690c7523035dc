import * as http from 'node:http';
import * as https from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { quote } from '@countersign/shared';
import type { CallbackAddress } from './callback-address.ts';
import { hostOf } from './callback-url.ts';
import { keepBriefly, recordIdleTime } from './idle-connections.ts';

/** Seconds, each from the end of the one before. */
interface PostTimeouts {
  /** Until the connection stands, TLS included. */
  readonly connect: number;
  /** Until the body is sent and the head of the answer has come. */
  readonly headers: number;
  /** Until the answer is read. */
  readonly body: number;
}

/** What one attempt sends. */
interface PostRequest extends CallbackAddress {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly timeouts: PostTimeouts;
  /** Bytes of the answer that are read; the connection of a longer one is cut. */
  readonly maxResponse: number;
}

export interface PostAnswer {
  readonly status: number;
  readonly location: string | undefined;
  readonly retryAfter: string | undefined;
  /** As far as it was read. */
  readonly body: Uint8Array;
}

/** Posts to addresses that were checked. */
export interface Poster {
  /** @throws Error where there was no answer */
  post(request: PostRequest): Promise<PostAnswer>;
  close(): void;
}

type PinnedOptions = https.RequestOptions & { readonly pinned?: string };

const KEPT = { keepAlive: true, maxFreeSockets: 256 };

/**
 * Connects to the addresses that were checked and to nothing else. `node:https` rather than fetch:
 * it takes a `lookup`, follows no redirect (which could lead inside), sends no cookie, unpacks
 * nothing, and knows no proxy unless told. It posts once: what a receiver may have seen is never
 * sent again by itself.
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
      // The other end had closed it while it was idle: not a byte was sent.
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
 * A kept connection is used again only for the same name *and* the same addresses: else one that
 * was made before the name was rebound, or by a policy that allowed more, would still be taken.
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
    // An address has no name to ask for (RFC 6066 section 3).
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
      // The other end may have closed it, which Node reads before this: then nothing is sent.
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
      // The head has decided: what goes wrong with the rest is not worth a repeat of all.
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
      // An endless answer would otherwise be paid for by us.
      if (!(length <= most)) break;
    }
  } catch {
    // What has come is all there is.
  }
  return Buffer.concat(chunks).subarray(0, most);
}

/** Answers with what was checked, whatever is asked for. */
function lookupOf(addresses: readonly string[]): LookupFunction {
  const found = addresses.map((address) => ({ address, family: isIP(address) }));
  return (_hostname, { all }, callback) => {
    const [first] = found;
    if (all) callback(null, found);
    else callback(null, first?.address as string, first?.family);
  };
}
