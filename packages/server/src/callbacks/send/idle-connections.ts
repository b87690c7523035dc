import type * as http from 'node:http';
import type { Socket } from 'node:net';

/**
 * Seconds for which an idle connection is kept. Many receivers close theirs after two seconds or
 * more. If they close it just as we use it again, the attempt fails. One second is enough for a
 * burst of callbacks to use few connections.
 */
const LONGEST_IDLE = 1;

/** The methods of an agent for idle connections. Node documents them, but its types do not. */
interface Keeping {
  /** @returns whether it is kept */
  keepSocketAlive(socket: Socket): boolean;
  reuseSocket(socket: Socket, request: http.ClientRequest): void;
}

/**
 * For each connection, the seconds for which we keep it idle: half of what the receiver announces,
 * because its clock starts before ours.
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
    // The agent closes the idle connection when this timeout ends.
    socket.setTimeout(seconds * 1000);
    return true;
  };
  keeping.reuseSocket = (socket, request) => {
    socket.setTimeout(0);
    reuse(socket, request);
  };
  return agent;
}
