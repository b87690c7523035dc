import type { Terminal } from './terminal.ts';

/** What a command knows of the world: the process's own, or a test's. */
export interface Io {
  /** Data, and nothing else. */
  readonly stdout: Terminal;
  /** What people read. */
  readonly stderr: Terminal;
  readonly stdin: NodeJS.ReadableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether somebody sits there who can be asked. */
  readonly isTTY: boolean;
  /** Unix seconds. */
  readonly clock: () => number;
  /** Resolves when somebody wants the command to end, as with Ctrl+C. Whoever asks has to end; until then Ctrl+C ends the process. */
  readonly untilInterrupted: () => Promise<void>;
}
