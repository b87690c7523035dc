/** The part of a request of `node:http` that is used here. Nothing is imported: fetch handlers run where there is no Node, too. */
export interface HeldRequest {
  readonly httpVersionMajor: number;
  readonly socket: HeldSocket;
  readonly readableLength: number;
  once(event: 'end', act: () => void): unknown;
}

interface Answer {
  once(event: 'close', act: () => void): unknown;
}

interface HeldSocket {
  pause(): unknown;
  resume(): unknown;
  push(chunk: unknown, encoding?: unknown): boolean;
  read(bytes: number): unknown;
  readonly encrypted?: unknown;
}

// Taken once: a test that replaces timers for a while must not leave requests waiting that come later.
const { setImmediate, setInterval, clearInterval, performance } = globalThis;

let parsed: Promise<void> | undefined;

/**
 * Waits until all that has arrived at once is parsed. Node tells of a request before it has looked at what stands behind the headers; a
 * small body mostly stands there, and is then whole without being waited for. All requests of one turn of the event loop share one wait.
 */
export function whenParsed(req: HeldRequest): Promise<void> | undefined {
  // TLS tells of the end of a connection together with what came before it: there is no time to wait.
  if (hasEnded(req) || req.socket?.encrypted === true) return undefined;
  parsed ??= new Promise((resolve) => {
    setImmediate(() => {
      parsed = undefined;
      resolve();
    });
  });
  return parsed;
}

/**
 * Whether all of a body has arrived, as its stream says. `complete` is also said by those who make requests up, before they push a byte.
 */
export function hasEnded(req: object): boolean {
  const { _readableState } = req as { readonly _readableState?: { readonly ended?: boolean } };
  return _readableState?.ended === true;
}

/** How many requests want that nothing further is read from a connection. */
const holds = new WeakMap<HeldSocket, number>();

/** Requests that have begun to wait, or are about to end. */
let wanted: ConnectionHold[] = [];

const SETTLED = Promise.resolve();

/** Seconds. A store that never answers must not keep connections open whose clients are long gone. */
const LONGEST_HOLD = 5;
const held = new Set<ConnectionHold>();
let sweep: ReturnType<typeof setInterval> | undefined;

/**
 * While a request that has arrived is verified, nothing further is read from its connection, and neither until the application has read
 * its body. So whatever comes behind it (the end of the connection, a reset, one more byte) is seen only then, as if verifying took no
 * time. If it were seen before, Node would discard the body that waits in the request, and would close a connection on which an answer
 * is due.
 *
 * Only for HTTP/1: a connection of HTTP/2 carries other requests, too, and each keeps its body by itself.
 */
export class ConnectionHold {
  readonly #socket: HeldSocket | undefined;
  #state: 'idle' | 'wanted' | 'held' = 'idle';
  /** Held until the application has read this request, or has answered it. */
  #unread: { readonly req: HeldRequest; readonly res: Answer } | undefined;
  /** Milliseconds, by `performance.now()`. */
  #since = 0;

  /** @param req without one there is nothing to hold */
  constructor(req: HeldRequest | undefined) {
    // What calls listeners without a server gives them something else for a socket.
    const isConnection = req?.httpVersionMajor === 1 && typeof req.socket?.pause === 'function';
    this.#socket = isConnection ? req.socket : undefined;
  }

  /** Whether other requests on the same connection want that nothing is read from it. Then it stays held, though something was read. */
  isKeptByOthers(): boolean {
    const socket = this.#socket;
    if (socket === undefined || this.#state === 'held' || !(Number(holds.get(socket)) > 0))
      return false;
    void SETTLED.then(() => {
      const keep = (): void => void (Number(holds.get(socket)) > 0 && socket.pause());
      process.nextTick(() => process.nextTick(keep));
    });
    return true;
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
    held.delete(this);
    const socket = this.#socket as HeldSocket;
    const others = (holds.get(socket) as number) - 1;
    holds.set(socket, others);
    if (others > 0) return;
    socket.resume();
    ends.get(socket)?.();
  }

  /** Holds once more, after something has been read: to read from a request is to read on from its connection. */
  renew(): void {
    this.end();
    this.begin();
  }

  /** Reads on once the application has read what waits in the request, or has answered without. Most read it at once. */
  endWhenRead(req: HeldRequest, res: Answer): void {
    this.end();
    if (req.readableLength === 0 || !hasEnded(req)) return;
    this.#unread = { req, res };
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
    const all = wanted;
    wanted = [];
    for (const hold of all) hold.#hold();
  }

  #hold(): void {
    if (this.#state !== 'wanted') return;
    if (this.#unread?.req.readableLength === 0) {
      this.#state = 'idle';
      return;
    }
    this.#state = 'held';
    this.#since = performance.now();
    this.#unread?.req.once('end', () => this.end());
    this.#unread?.res.once('close', () => this.end());
    const socket = this.#socket as HeldSocket;
    holds.set(socket, (holds.get(socket) ?? 0) + 1);
    socket.pause();
    if (socket.encrypted === true) keepEndBack(socket);
    held.add(this);
    sweep ??= unref(setInterval(ConnectionHold.#endOldest, 1_000));
  }

  static #endOldest(): void {
    const latest = performance.now() - LONGEST_HOLD * 1_000;
    for (const hold of held) if (hold.#since <= latest) hold.end();
    if (held.size > 0) return;
    clearInterval(sweep);
    sweep = undefined;
  }
}

/** Lets the end of a connection through that was kept back. */
const ends = new WeakMap<HeldSocket, () => void>();

/** TLS tells of the end of a connection together with what came before it, paused or not: it is told once the connection is read again. */
function keepEndBack(socket: HeldSocket): void {
  if (ends.has(socket)) return;
  const { push } = socket;
  let hasCome = false;
  const value = (chunk: unknown, encoding?: unknown): boolean => {
    if (chunk !== null) return push.call(socket, chunk, encoding);
    hasCome = true;
    return false;
  };
  Object.defineProperty(socket, 'push', { value, writable: true, configurable: true });
  ends.set(socket, () => {
    ends.delete(socket);
    socket.push = push;
    if (!hasCome) return;
    // As late as it would have come without TLS.
    setImmediate(() => {
      socket.push(null);
      socket.read(0);
    });
  });
}

/** Does not keep a process alive by it. */
function unref<T>(timer: T): T {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}
