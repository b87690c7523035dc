/**
 * The part of a request of `node:http` that is used here. Nothing is imported, because fetch
 * handlers also run without Node.
 */
export interface HeldRequest {
  readonly httpVersionMajor: number;
  readonly socket: HeldSocket;
  readonly readableLength: number;
  once(event: 'end', act: () => void): unknown;
}

interface Answer {
  readonly writableFinished?: boolean;
  once(event: 'close', act: () => void): unknown;
}

interface HeldSocket {
  readonly remoteAddress?: string | undefined;
  pause(): unknown;
  resume(): unknown;
  push(chunk: unknown, encoding?: unknown): boolean;
  read(bytes: number): unknown;
  readonly encrypted?: unknown;
}

// Read once: if a test replaces timers for a while, later requests must not wait forever.
const { setImmediate, setInterval, clearInterval, performance } = globalThis;

let parsed: Promise<void> | undefined;

/**
 * Waits until Node has parsed everything that arrived together. Node announces a request before it
 * has parsed the bytes behind the headers. A small body is mostly among these bytes, and is then
 * whole without a further wait. All requests of one turn of the event loop share one wait.
 */
export function whenParsed(req: HeldRequest): Promise<void> | undefined {
  // TLS reports the end of a connection together with the bytes before it, so there is no time to
  // wait.
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
 * Whether all of a body has arrived, as its stream says. `complete` does not tell: libraries that
 * make requests set it before they push a byte.
 */
export function hasEnded(req: object): boolean {
  const { _readableState } = req as { readonly _readableState?: { readonly ended?: boolean } };
  return _readableState?.ended === true;
}

/** How many requests hold each connection, so that nothing further is read from it. */
const holds = new WeakMap<HeldSocket, number>();

/** Holds that are about to begin, unless they end before. */
let wanted: ConnectionHold[] = [];

const SETTLED = Promise.resolve();

/**
 * In seconds. If a store never answers, connections of clients that left long ago must not stay
 * open.
 */
const LONGEST_HOLD = 5;
const held = new Set<ConnectionHold>();
let sweep: ReturnType<typeof setInterval> | undefined;

/**
 * Stops reading from the connection of a request while the request is verified, and until the
 * application has read its body. So Node sees what comes behind the request (the end of the
 * connection, a reset, one more byte) only afterwards, as if verifying took no time. If Node saw it
 * earlier, it would discard the body that waits in the request, and close a connection on which an
 * answer is due.
 *
 * Only for HTTP/1: a connection of HTTP/2 carries other requests, too, and each request keeps its
 * own body.
 */
export class ConnectionHold {
  readonly #socket: HeldSocket | undefined;
  #state: 'idle' | 'wanted' | 'held' = 'idle';
  /** The connection is held until the application has read this request, or has answered it. */
  #unread: { readonly req: HeldRequest; readonly res: Answer } | undefined;
  /** When the hold began, in milliseconds of `performance.now()`. */
  #since = 0;

  /** @param req if not given, there is nothing to hold */
  constructor(req: HeldRequest | undefined) {
    // Code that calls listeners without a server gives them something else for a socket.
    const isConnection = req?.httpVersionMajor === 1 && typeof req.socket?.pause === 'function';
    this.#socket = isConnection ? req.socket : undefined;
  }

  /**
   * Whether other requests hold the same connection. If so, it is paused again, because reading
   * from this request may have resumed it.
   */
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
   * Holds the connection as soon as there is nothing left to do except wait. Work that needs no
   * waiting, as with stores in memory, is done by then, and costs no hold.
   */
  begin(): void {
    if (this.#socket === undefined || this.#state !== 'idle') return;
    this.#state = 'wanted';
    if (wanted.push(this) === 1) void SETTLED.then(ConnectionHold.#afterPromises);
  }

  /** Reads on, because the body is still on its way or the application has the request. */
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

  /** Holds again after a read, because reading from a request also resumes its connection. */
  renew(): void {
    this.end();
    this.begin();
  }

  /**
   * Holds on until the application has read the body that waits in the request, or has answered
   * without reading it. Most applications read it at once, and then there is no hold.
   */
  endWhenRead(req: HeldRequest, res: Answer): void {
    this.end();
    if (req.readableLength === 0 || !hasEnded(req)) return;
    this.#unread = { req, res };
    this.begin();
  }

  /**
   * Node empties the queue of promises and then the queue of ticks before it reads from a socket
   * again. In the first tick a socket may still resume, because something was read from its
   * request. That would undo an earlier pause, so this waits for the second tick.
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
    // A handler that reads nothing may have answered by now.
    if (this.#unread?.req.readableLength === 0 || this.#unread?.res.writableFinished === true) {
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

/** Functions that let the end of a connection through, if it was kept back. */
const ends = new WeakMap<HeldSocket, () => void>();

/**
 * Keeps the end of a TLS connection back until the connection is read again. TLS reports the end
 * together with the bytes before it, even if the socket is paused.
 */
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
    // Without TLS the end would come this late, too.
    setImmediate(() => {
      socket.push(null);
      socket.read(0);
    });
  });
}

/** Keeps a timer from keeping the process alive. */
function unref<T>(timer: T): T {
  (timer as { unref?: () => void }).unref?.();
  return timer;
}
