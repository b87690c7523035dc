import * as z from 'zod';
import { parseOptions } from '../lib/options.ts';
import {
  type AccessKeyInfo,
  createdOf,
  infoOf,
  mayBeOf,
  type UnreadableKeyInfo,
  unreadableInfo,
} from './key-info.ts';
import { accessKeyIdOf, type StoredKey } from './key-record.ts';
import type { LastUses } from './last-uses.ts';
import type { RecordStore } from './record-store.ts';

const listSchema = z.strictObject({ subject: z.string().optional() });

/** What is shown of keys: their metadata and their last uses, without their secrets. */
export class KeyInfos {
  readonly #records: Pick<RecordStore, 'names'>;
  readonly #lastUses: LastUses;
  readonly #find: (accessKeyId: string) => Promise<StoredKey | undefined>;

  /** @param find finds a key, with all that was revoked of it */
  constructor(
    records: Pick<RecordStore, 'names'>,
    lastUses: LastUses,
    find: (accessKeyId: string) => Promise<StoredKey | undefined>,
  ) {
    this.#records = records;
    this.#lastUses = lastUses;
    this.#find = find;
  }

  async show(accessKeyId: string): Promise<AccessKeyInfo | undefined> {
    return this.#info(accessKeyId, await this.#lastUses.of([accessKeyId]));
  }

  async list(of: {
    readonly subject?: string | undefined;
  }): Promise<(AccessKeyInfo | UnreadableKeyInfo)[]> {
    const { subject } = parseOptions('list of access keys', listSchema, of);
    const ids = (await this.#records.names()).flatMap((name) => accessKeyIdOf(name) ?? []);
    const uses = await this.#lastUses.of(ids);
    const infos = await Promise.all(
      ids.map((id) => this.#info(id, uses).catch((error) => unreadableInfo(id, error))),
    );
    return infos
      .filter((info) => info !== undefined)
      .filter((info) => subject === undefined || mayBeOf(subject, info))
      .sort((one, other) => createdOf(one) - createdOf(other));
  }

  async #info(
    accessKeyId: string,
    uses: ReadonlyMap<string, number>,
  ): Promise<AccessKeyInfo | undefined> {
    const key = await this.#find(accessKeyId);
    return key && infoOf(key, uses.get(accessKeyId));
  }
}
