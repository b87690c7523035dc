import { setTimeout as sleep } from 'node:timers/promises';
import { createSigner, type SignedRequest } from '@countersign/client';
import type { AccessKey } from '@countersign/server';
import { Pool } from 'undici';

/** A request on its way to a verifier, and what became of it: a line of the event log. */
export interface Attempt {
  /** Milliseconds, by `performance.now()`, when it was sent. */
  readonly at: number;
  /**
   * Who sent it: clients that echo the epoch, clients that do not, and attackers who captured what
   * they sent.
   */
  readonly sender: 'echoing' | 'plain' | 'replay';
  /** Which client. */
  readonly client: number;
  readonly nonce: string;
  readonly verifier: number;
  /** 0 where no answer came. */
  readonly status: number;
  readonly reason: string;
  readonly retry: string;
  readonly retryAfter: number;
  /** The epoch that the answer told. */
  readonly epoch: string | undefined;
  readonly milliseconds: number;
}

export interface TrafficOptions {
  readonly audience: string;
  readonly accessKeys: readonly AccessKey[];
  /** Seconds that some clients are ahead. */
  readonly ahead: number;
  /** Seconds for which a captured request is worth sending again. */
  readonly memory: number;
}

const ECHOING = 8;
const PLAIN = 4;
const ATTACKERS = 24;
const PAUSE = 15;

/**
 * Honest clients, of which every fourth is ahead of the time, and an attacker who sends everything
 * again that was accepted, or got no answer: as fast as he can, to any verifier.
 */
export class Traffic {
  readonly log: Attempt[] = [];
  readonly #pools: readonly Pool[];
  readonly #options: TrafficOptions;
  /** What was captured, the latest last. */
  #captured: { readonly at: number; readonly signed: SignedRequest }[] = [];
  #isOver = false;
  #senders: Promise<void>[] = [];
  /** Which verifiers clients call; the attacker calls all. */
  reachable: readonly number[];

  constructor(ports: readonly number[], options: TrafficOptions) {
    this.#options = options;
    this.#pools = ports.map(
      (port) => new Pool(`http://127.0.0.1:${port}`, { connections: 16, pipelining: 1 }),
    );
    this.reachable = ports.map((_, index) => index);
  }

  start(): void {
    const echoing = Array.from({ length: ECHOING }, (_, index) => this.#call('echoing', index));
    const plain = Array.from({ length: PLAIN }, (_, index) => this.#call('plain', index));
    const attackers = Array.from({ length: ATTACKERS }, (_, index) => this.#replay(index));
    this.#senders = [...echoing, ...plain, ...attackers];
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#senders);
    await Promise.all(this.#pools.map((pool) => pool.destroy()));
  }

  async #call(sender: 'echoing' | 'plain', client: number): Promise<void> {
    const { accessKeys, audience, ahead } = this.#options;
    const key = accessKeys[client % accessKeys.length] as AccessKey;
    const { accessKeyId, secretAccessKey = '' } = key;
    const offset = client % 4 === 3 ? ahead : 0;
    const signer = createSigner({
      credentials: { accessKeyId, secretAccessKey },
      audience,
      clock: () => Date.now() / 1000 + offset,
    });
    let epoch: string | undefined;
    while (!this.#isOver) {
      const signed = await signer.sign({
        method: 'POST',
        url: 'http://api.test/VideoParser/',
        body: { videoUrl: 'https://videos.test/cats.mp4' },
        epoch: sender === 'echoing' ? epoch : undefined,
      });
      const verifier = this.reachable[Math.floor(Math.random() * this.reachable.length)] as number;
      const told = await this.#send(sender, client, signed, verifier);
      if (told.epoch !== undefined) epoch = told.epoch;
      if (told.status === 200 || told.status === 0)
        this.#captured.push({ at: performance.now(), signed });
      // Refused for its epoch, a client signs again at once.
      if (!(sender === 'echoing' && told.reason === 'replay-unknown')) await sleep(PAUSE);
    }
  }

  async #replay(client: number): Promise<void> {
    while (!this.#isOver) {
      const { length } = this.#captured;
      if (length === 0 || length > 100_000) await sleep(PAUSE);
      const chosen = this.#captured[Math.floor(Math.random() * length)];
      if (chosen === undefined) continue;
      const worthless = performance.now() - this.#options.memory * 1000;
      if (chosen.at < worthless) {
        this.#captured = this.#captured.filter(({ at }) => at >= worthless);
        continue;
      }
      const verifier = Math.floor(Math.random() * this.#pools.length);
      const { status } = await this.#send('replay', client, chosen.signed, verifier);
      if (status === 503 || status === 0) await sleep(PAUSE);
    }
  }

  async #send(
    sender: Attempt['sender'],
    client: number,
    { method, headers, body }: SignedRequest,
    verifier: number,
  ): Promise<{ status: number; reason: string; epoch: string | undefined }> {
    const at = performance.now();
    let answer = { status: 0, reason: '', retry: '', retryAfter: 0 };
    let epoch: string | undefined;
    try {
      const response = await (this.#pools[verifier] as Pool).request({
        method: method as 'POST',
        path: '/VideoParser/',
        headers: { ...headers, host: 'api.test' },
        body: body as Uint8Array,
      });
      const text = await response.body.text();
      const { reason = '', retry = '' } = JSON.parse(text) as { reason?: string; retry?: string };
      const retryAfter = Number(response.headers['retry-after'] ?? 0);
      answer = { status: response.statusCode, reason, retry, retryAfter };
      epoch = response.headers['countersign-epoch'] as string | undefined;
    } catch {
      // No answer: of what became of the request nothing is known.
    }
    const milliseconds = performance.now() - at;
    const nonce = headers['x-countersign-nonce'] as string;
    this.log.push({ at, sender, client, nonce, verifier, ...answer, epoch, milliseconds });
    return { status: answer.status, reason: answer.reason, epoch };
  }
}
