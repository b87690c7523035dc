import { randomBytes } from 'node:crypto';
import { describeValue, findTextFlaw, quote, splitMasterKey } from '@countersign/shared';

/** A key that secrets are sealed with. */
export interface MasterKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** Master keys by their ids, in the order in which they were given. */
export type MasterKeyList = ReadonlyMap<string, MasterKey>;

const ID = /^[A-Za-z0-9_-]{1,64}$/;

export function isMasterKeyId(id: string): boolean {
  return ID.test(id);
}

/**
 * Makes a master key. Keep it apart from what it seals: in the environment, in a file of its own,
 * or in a key management service.
 *
 * @param id its name: the present date if not given
 * @returns `<id>:<32 random bytes in base64url>`
 *
 * @example
 * ```ts
 * import { generateMasterKey } from '@countersign/server';
 *
 * console.assert(/^2026-11:[\w-]{43}$/.test(generateMasterKey('2026-11')));
 * ```
 */
export function generateMasterKey(id: string = new Date().toISOString().slice(0, 10)): string {
  if (typeof id !== 'string' || !ID.test(id))
    throw new TypeError(
      `Cannot make master key ${describeValue(id)}: expected 1 to 64 of A-Z a-z 0-9 _ - for its name`,
    );
  return `${id}:${randomBytes(32).toString('base64url')}`;
}

/** @throws TypeError if a text is not a master key, or two have the same id */
export function parseMasterKeys(texts: readonly unknown[]): MasterKeyList {
  if (texts.length === 0) throw notOne();
  const keys = new Map(texts.map(parseMasterKey).map((key) => [key.id, key]));
  if (keys.size !== texts.length)
    throw new TypeError('Cannot use master keys: two of them have the same id');
  return keys;
}

/** @throws TypeError if it is not a master key */
export function parseMasterKey(text: unknown): MasterKey {
  const split = typeof text === 'string' ? splitMasterKey(text) : undefined;
  if (split === undefined) throw notOne(text);
  const { id, encoded } = split;
  const bytes = Buffer.from(encoded, 'base64url');
  if (new Set(bytes).size < 8)
    throw new TypeError(
      `Cannot use master key ${quote(id)}: it repeats a few bytes; make one with generateMasterKey()`,
    );
  return { id, bytes };
}

function notOne(text?: unknown): TypeError {
  const flaw = typeof text === 'string' ? findTextFlaw(text) : undefined;
  return new TypeError(
    `Cannot use master key: ${flaw === undefined ? '' : `${flaw}; `}expected <id>:<32 bytes in base64url>, as generateMasterKey() makes it`,
  );
}
