import { type BodyJudge, quote, SignatureError } from '@countersign/shared';
import type { BodyCheck, FieldChanges } from './check-body.ts';
import { tooLarge } from './too-large.ts';

/**
 * Stands between the bytes of a stranger and the judge of a scheme. Whatever the judge does, the
 * body is handed on only as far as it was released, and it ends only after the judge agreed. After
 * a refusal the judge is not called again.
 */
export class ChunkCheck implements BodyCheck {
  readonly changes: FieldChanges;
  readonly #judge: BodyJudge;
  readonly #limit: number;
  readonly #onRefusal: (error: SignatureError) => void;
  #refusal: SignatureError | undefined;
  /** Bytes that were given and not released, in total. */
  #surplus = 0;
  /** Bytes that were given since something was last released: the judge may hold all of them. */
  #held = 0;

  /**
   * @param limit the most bytes that the judge may hold
   * @param onRefusal called once, with the refusal that is thrown
   */
  constructor(judge: BodyJudge, limit: number, onRefusal: (error: SignatureError) => void) {
    this.#judge = judge;
    this.#limit = limit;
    this.#onRefusal = onRefusal;
    this.changes = judge.headers ?? {};
  }

  /** @throws SignatureError */
  push(bytes: Uint8Array): readonly Uint8Array[] {
    if (bytes.length === 0) return [];
    return this.#guard(() => {
      const pieces = this.#judge.push(bytes);
      const released = lengthOf(pieces);
      this.#surplus += bytes.length - released;
      // A judge takes framing off. If it added bytes, no limit would hold.
      if (!(this.#surplus >= 0)) throw new RangeError('The judge released more than it was given');
      this.#held = released > 0 ? 0 : this.#held + bytes.length;
      if (!(this.#held <= this.#limit)) throw tooLarge(this.#limit);
      return pieces;
    });
  }

  /** @throws SignatureError */
  end(): void {
    this.#guard(() => {
      const outcome: unknown = this.#judge.end();
      if (outcome === undefined) return;
      // The verdict of a promise would come too late, and its rejection would end the process.
      Promise.resolve(outcome).catch(() => undefined);
      throw new TypeError(`end() of the judge returned ${quote(outcome)}, expected nothing`);
    });
  }

  #guard<T>(act: () => T): T {
    if (this.#refusal !== undefined) throw this.#refusal;
    try {
      return act();
    } catch (error) {
      this.#refusal = toRefusal(error);
      this.#onRefusal(this.#refusal);
      throw this.#refusal;
    }
  }
}

/** @throws TypeError if they are not pieces, such as a promise of pieces */
function lengthOf(pieces: unknown): number {
  if (!Array.isArray(pieces)) {
    Promise.resolve(pieces).catch(() => undefined);
    throw new TypeError(`push() of the judge returned ${quote(pieces)}, expected a list of pieces`);
  }
  let length = 0;
  for (const piece of pieces) {
    if (!(piece instanceof Uint8Array)) throw new TypeError('A piece of the judge has no bytes');
    length += piece.length;
  }
  return length;
}

/**
 * A judge parses what strangers wrote. If that fails in any way, the body is not the signed one.
 */
export function toRefusal(error: unknown): SignatureError {
  if (error instanceof SignatureError) return error;
  return new SignatureError(
    'ERR_BODY_MISMATCH',
    'The body cannot be verified: its chunks are not those that were signed',
    { cause: error },
  );
}
