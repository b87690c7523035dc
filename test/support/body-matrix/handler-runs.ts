/** One call of a handler. The body parser in front of it counts as a part of the handler. */
export class HandlerRun {
  state: 'waiting' | 'read' | 'failed' = 'waiting';
  seen = '';
  /** Resolves when the handler has read its body, or reading has failed. */
  readonly over: Promise<void>;
  #finish: () => void = () => undefined;

  constructor() {
    this.over = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  read(seen: string): void {
    this.#settle('read', seen);
  }

  fail(): void {
    this.#settle('failed', '');
  }

  #settle(state: 'read' | 'failed', seen: string): void {
    if (this.state !== 'waiting') return;
    this.state = state;
    this.seen = seen;
    this.#finish();
  }
}

/** All calls of the handlers of one server. */
export class HandlerRuns {
  readonly all: HandlerRun[] = [];
  readonly #server: string;
  #isClosed = false;

  constructor(server: string) {
    this.#server = server;
  }

  /** Call it as soon as a guard lets a request through. */
  begin(): HandlerRun {
    // This fails the test run, because the combination was judged too early.
    if (this.#isClosed)
      throw new Error(`A handler ran after its request was over: ${this.#server}`);
    const run = new HandlerRun();
    this.all.push(run);
    return run;
  }

  close(): void {
    this.#isClosed = true;
  }

  async over(): Promise<void> {
    await Promise.all(this.all.map((run) => run.over));
  }
}
