/** The part of a request of `node:http` that is used here. Nothing is imported: fetch handlers run where there is no Node, too. */
interface Incoming {
  readonly httpVersionMajor: number;
  readonly socket: Socket;
}

interface Socket {
  pause(): unknown;
  resume(): unknown;
}

let parsed: Promise<void> | undefined;

/**
 * Waits until all that has arrived at once is parsed. Node tells of a request before it has looked at what stands behind the headers; a
 * small body mostly stands there, and is then whole without being waited for. All requests of one turn of the event loop share one wait.
 */
export function whenParsed(): Promise<void> {
  parsed ??= new Promise((resolve) => {
    setImmediate(() => {
      parsed = undefined;
      resolve();
    });
  });
  return parsed;
}

/** How many requests want that nothing further is read from a connection. */
const holds = new WeakMap<Socket, number>();

/** Requests that have begun to wait, or are about to end. */
const wanted: ConnectionHold[] = [];

const SETTLED = Promise.resolve();

/**
 * While a request that has arrived is verified, nothing further is read from its connection. So whatever comes behind it (the end of
 * the connection, a reset, one more byte) is seen only once the application has the request, as if verifying took no time. If it were
 * seen before, Node would discard the body that waits in the request, and would close a connection on which an answer is due.
 *
 * Only for HTTP/1: a connection of HTTP/2 carries other requests, too, and each keeps its body by itself.
 */
export class ConnectionHold {
  readonly #socket: Socket | undefined;
  #state: 'idle' | 'wanted' | 'held' = 'idle';

  /** @param req without one there is nothing to hold */
  constructor(req: Incoming | undefined) {
    // What calls listeners without a server gives them something else for a socket.
    const isConnection = req?.httpVersionMajor === 1 && typeof req.socket?.pause === 'function';
    this.#socket = isConnection ? req.socket : undefined;
  }

  /**
   * Holds the connection from the moment at which nothing is left to do but wait. What needs no waiting is done by then, as with
   * stores in memory: it never pays for a hold.
   */
  begin(): void {
    if (this.#socket === undefined || this.#state !== 'idle') return;
    this.#state = 'wanted';
    if (wanted.push(this) === 1) void SETTLED.then(ConnectionHold.#afterPromises);
  }

  /** Reads on: the body is still on its way, or the application has the request. */
  end(): void {
    const state = this.#state;
    this.#state = 'idle';
    if (state !== 'held') return;
    const socket = this.#socket as Socket;
    const others = (holds.get(socket) as number) - 1;
    holds.set(socket, others);
    if (others === 0) socket.resume();
  }

  /** Holds once more, after something has been read: to read from a request is to read on from its connection. */
  renew(): void {
    this.end();
    this.begin();
  }

  /**
   * Node empties the queue of promises, then that of ticks, before it reads from a socket again. In the first tick a socket may still
   * resume, because something was read from its request, and would undo what was done before.
   */
  static #afterPromises(): void {
    process.nextTick(() => process.nextTick(ConnectionHold.#holdWanted));
  }

  static #holdWanted(): void {
    for (const hold of wanted.splice(0)) hold.#hold();
  }

  #hold(): void {
    if (this.#state !== 'wanted') return;
    this.#state = 'held';
    const socket = this.#socket as Socket;
    holds.set(socket, (holds.get(socket) ?? 0) + 1);
    socket.pause();
  }
}
