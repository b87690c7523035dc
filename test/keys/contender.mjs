// Does random things to keys of its own and to what all share, and says before and after each what
// it does.

import { Redis } from 'ioredis';
import { FileKeyStore } from '../../packages/server/dist/file.js';
import { generateAccessKey } from '../../packages/server/dist/index.js';
import { RedisKeyStore } from '../../packages/server/dist/redis.js';

const { store, masterKey, operations, name } = JSON.parse(process.env['SETTINGS'] ?? '');

// Where the time stands still, versions go up by one: all that were counted can be told from the
// last.
const clock = () => 0;
const keys =
  store.path === undefined
    ? new RedisKeyStore({
        redis: new Redis(store.redis),
        prefix: store.prefix,
        masterKey,
        timeout: 10,
        clock,
      })
    : new FileKeyStore({ path: store.path, masterKey, clock });

/** What is known of keys of this process alone: their status, by id. */
const own = [];
const pick = () => own[Math.floor(Math.random() * own.length)];

/** @type {Record<string, () => [id: string, act: () => Promise<unknown>]>} */
const acts = {
  create() {
    const key = generateAccessKey({ subject: name });
    own.push(key.accessKeyId);
    return [key.accessKeyId, () => keys.add(key)];
  },
  disable() {
    const id = pick();
    return [id, () => keys.disable(id)];
  },
  enable() {
    const id = pick();
    return [id, () => keys.enable(id)];
  },
  revoke() {
    const id = own.splice(own.indexOf(pick()), 1)[0];
    return [id, () => keys.revoke({ accessKeyId: id })];
  },
  // All processes at once count up the same number.
  count: () => ['everybody', () => keys.revoke({ everybody: 'sessions' })],
};

for (let done = 0; done < operations; done++) {
  const words = own.length === 0 ? ['create', 'count'] : Object.keys(acts);
  const word = words[Math.floor(Math.random() * words.length)];
  const [id, act] = acts[word]();
  await say({ word, id, phase: 'begins' });
  await act();
  await say({ word, id, phase: 'done' });
}
await keys.close();
await say({ phase: 'over' });
process.exit(0);

/** @param {object} line */
function say(line) {
  return new Promise((resolve) => process.send?.(line, resolve));
}
