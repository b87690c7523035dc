import type { Terminal } from './terminal.ts';

/** All that a command uses of the process. Tests give their own. */
export interface Io {
  /** For data only. */
  readonly stdout: Terminal;
  /** For messages to people. */
  readonly stderr: Terminal;
  readonly stdin: NodeJS.ReadableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person can answer questions. */
  readonly isTTY: boolean;
  /** Unix seconds. */
  readonly clock: () => number;
  /**
   * Resolves when the user ends the command, for example with Ctrl+C. A command that calls this
   * must then end by itself. Before the call, Ctrl+C ends the process.
   */
  readonly untilInterrupted: () => Promise<void>;
}
