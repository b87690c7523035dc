import type * as http from 'node:http';
import type { Socket } from 'node:net';

/**
 * Seconds for which an idle connection is kept. Receivers close theirs after two seconds and more,
 * and some of them just as it is used again: such an attempt fails. It keeps bursts of callbacks on
 * few connections.
 */
const LONGEST_IDLE = 1;

/** What an agent does with an idle connection: documented, though not in the types. */
interface Keeping {
  /** @returns whether it is kept */
  keepSocketAlive(socket: Socket): boolean;
  reuseSocket(socket: Socket, request: http.ClientRequest): void;
}

/**
 * By connection, for how many seconds the receiver keeps it: half of what it announces, since its
 * clock began to run before ours.
 */
const idleTimes = new WeakMap<object, number>();

/** Reads how long the receiver keeps the connection that it answered on. */
export function recordIdleTime({ socket, headers }: http.IncomingMessage): void {
  const [, announced] =
    /(?:^|[,\s])timeout=(\d{1,9})\b/i.exec(`${headers['keep-alive'] ?? ''}`) ?? [];
  const seconds = announced === undefined ? LONGEST_IDLE : Number(announced) / 2;
  idleTimes.set(socket, Math.min(seconds, LONGEST_IDLE));
}

/** Keeps idle connections for less time than their receivers do. */
export function keepBriefly<A extends http.Agent>(agent: A): A {
  const keeping = agent as unknown as Keeping;
  const keep = keeping.keepSocketAlive.bind(agent);
  const reuse = keeping.reuseSocket.bind(agent);
  keeping.keepSocketAlive = (socket) => {
    const seconds = idleTimes.get(socket) ?? 0;
    if (!(seconds > 0 && keep(socket))) return false;
    // The agent closes an idle connection when this is over.
    socket.setTimeout(seconds * 1000);
    return true;
  };
  keeping.reuseSocket = (socket, request) => {
    socket.setTimeout(0);
    reuse(socket, request);
  };
  return agent;
}
