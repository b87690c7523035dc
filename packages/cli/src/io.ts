/** Where text goes. */
interface Sink {
  /** Gives, at once or later, the error where the text could not be written, and whatever else where it could. */
  write(text: string): unknown;
}

/** What a command knows of the world: the process's own, or a test's. */
export interface Io {
  /** Data, and nothing else. */
  readonly stdout: Sink;
  /** What people read. */
  readonly stderr: Sink;
  readonly stdin: NodeJS.ReadableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether somebody sits there who can be asked. */
  readonly isTTY: boolean;
  /** Unix seconds. */
  readonly clock: () => number;
  /** Resolves when somebody wants the command to end, as with Ctrl+C. Whoever asks has to end; until then Ctrl+C ends the process. */
  readonly untilInterrupted: () => Promise<void>;
}
