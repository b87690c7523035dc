import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { runWrk, writeRequests } from './load.mjs';
import { SERVER_CPU, startPinned } from './processes.mjs';
import { BODY, CONTENT_TYPE, METHOD, TARGET } from './request.mjs';
import { signers, unsigned } from './sign.mjs';

const program = fileURLToPath(new URL('serve.mjs', import.meta.url));
const flags = (process.env.BENCH_NODE_FLAGS ?? '').split(' ').filter(Boolean);

/** A contender whose server runs: its rounds and their measurements. */
export class Contender {
  rounds = [];
  #server;
  #port;
  #key;
  /** The expected requests per second. A round signs enough requests for it. */
  #expected = 12_000;

  constructor(contender, key) {
    Object.assign(this, contender);
    this.#key = key;
  }

  async start(redisPort) {
    const { id, framework, app, redis } = this;
    const options = {
      id,
      framework,
      app,
      key: this.#key,
      redisPort: redis ? redisPort : undefined,
    };
    const command = [process.execPath, ...flags, program, JSON.stringify(options)];
    this.#server = startPinned(SERVER_CPU, command, {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, NODE_ENV: 'production' },
    });
    this.#port = (await this.#nextMessage()).port;
    if (flags.length > 0) console.log(`${id}: process ${this.#server.pid}`);
    if (this.signs !== undefined) await this.#prove();
  }

  /** Runs one round. @throws Error if a request was not answered with 200 */
  async run(options) {
    for (;;) {
      const count = Math.ceil(this.#expected * options.seconds);
      const sign = await this.#signer();
      const port = this.#port;
      const file = await writeRequests(options.folder, { count, port, sign });
      this.#server.send('begin', () => undefined);
      const told = await runWrk(file, { ...options, port });
      this.#server.send('end', () => undefined);
      const { handled, microseconds } = await this.#nextMessage();
      if (told.ranOut) {
        this.#expected *= 2;
        continue;
      }
      this.#check(told, handled, options.connections);
      const rate = (told.requests / told.microseconds) * 1e6;
      this.#expected = Math.max(rate * 1.3, 1000);
      return { cpu: microseconds / handled, rate };
    }
  }

  /**
   * The server may have answered requests that were in flight when wrk ended, and wrk counts fewer.
   */
  #check({ requests, refused, failed }, handled, connections) {
    const unheard = handled - requests;
    if (refused > 0 || failed > 0 || unheard < 0 || unheard > connections)
      throw new Error(
        `${this.id}: of ${requests} requests ${refused} were refused and ${failed} failed; the server counted ${handled}`,
      );
  }

  /** Waits for the next message of the server. @throws Error if the server ends instead */
  async #nextMessage() {
    const listening = new AbortController();
    const { signal } = listening;
    const server = this.#server;
    const ended = server.exitCode ?? server.signalCode ?? once(server, 'exit', { signal });
    const failed = Promise.resolve(ended).then(() => {
      throw new Error(`${this.id}: the server has ended`);
    });
    try {
      return (await Promise.race([failed, once(server, 'message', { signal })]))[0];
    } finally {
      listening.abort();
    }
  }

  /** Our signer takes the epoch of the server's last answer, as clients do. */
  async #signer() {
    const create = signers[this.signs] ?? unsigned;
    const origin = `http://127.0.0.1:${this.#port}`;
    if (this.signs !== 'ours') return create(this.#key, origin);
    const answer = await this.#send(await create(this.#key, origin)());
    const epoch = answer.headers.get('countersign-epoch') ?? undefined;
    return create(this.#key, origin, epoch);
  }

  async #send(headers, body = BODY) {
    const init = { method: METHOD, headers: { 'content-type': CONTENT_TYPE, ...headers }, body };
    const answer = await fetch(`http://127.0.0.1:${this.#port}${TARGET}`, init);
    return { status: answer.status, headers: answer.headers, text: await answer.text() };
  }

  /**
   * Checks that the server refuses what it must refuse: a server that accepts everything is fast.
   */
  async #prove() {
    const sign = await this.#signer();
    const altered = BODY.toString().replace('cats', 'dogs');
    const headers = await sign();
    const cases = [
      ['an altered request', await this.#send(await sign(), altered), false],
      ['a signed request', await this.#send(headers), true],
      ['the same again', await this.#send(headers), this.once !== true],
    ];
    for (const [what, { status, text }, accepts] of cases)
      if ((status === 200) !== accepts)
        throw new Error(`${this.id}: ${what} was answered with ${status} ${text}`);
  }
}
